// Package assets holds Stepgate's pages.
package assets

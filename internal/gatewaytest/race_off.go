//go:build !race

package gatewaytest

const raceDetector = false

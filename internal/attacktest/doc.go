// Package attacktest attacks the built binary from outside, on both stores: one row for each attack, named after its class.
//
// For every attack the oracle is the same. The upstream was not reached, no grant was set, the status is the one that
// docs/http.md promises for the reason, the problem names that very reason, and so does the audit line of the same request. A
// refusal for another reason fails the test, and so does any answer of 500 and above: what a broken store may answer is tested
// where faults are. Before each group the same thing done right must pass, so that a gateway that refuses everything fails.
//
// The groups are run over HTTP/1.1 and HTTP/2, the one about routing over HTTP/3 as well. What a client library would tidy away
// is sent over raw connections.
package attacktest

// Package ceremonytest measures what ceremonies cost the gateway: their start and their finish on a real store, without the
// software authenticator's part.
//
// Beside the time of a ceremony it reports the CPU time of this process for it (cpu-ns/op), because the database that
// tests run on shares the machine, and because waiting for a database costs a gateway nothing. A core makes 1e9 divided by
// that many ceremonies in a second.
package ceremonytest

// Package gatewaytest is the kit of the tests that run the built binary: processes of it with a Caddyfile, a store and a log
// of their own ([Gateway], [Fleet]), a process behind them that remembers what reached it ([Upstream]), clients with software
// authenticators ([Client]), and tables on Amazon's DynamoDB Local ([Tables]).
//
// A gateway's log is read at the end of each test: a secret in it, a data race or a panic fails the test. Everything listens
// on loopback, on ports that were free, and is stopped at the end of the test that started it.
package gatewaytest

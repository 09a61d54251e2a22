// Package e2etest tests the product as people meet it: the built binary as a process of its own, in front of an
// upstream that is another one, used by a real headless Chromium or by a client that speaks HTTP.
//
// Nothing in it imports the gateway's own code, so what holds here holds for the binary. Each test has its own gateway,
// store, log and upstream on loopback ports; nothing outside its temporary folder is touched. At the end of each test the
// gateway must stop by itself with exit code 0, and no line that it logged (at debug level, with an access log) may hold
// a secret that came up: see package gatewaytest.
//
// What people see is tested on both stores ([gatewaytest.OnEachStore]). What only several gateways, or a DynamoDB that fails, can show
// is tested on fleets, and behind a proxy that breaks calls, with one DynamoDB Local for the whole package and tables for each test.
//
// Nothing sleeps to wait for something: conditions are polled until they hold.
package e2etest

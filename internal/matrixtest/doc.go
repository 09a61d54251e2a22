// Package matrixtest crosses every call that Stepgate makes to DynamoDB, in everything that people and administrators do,
// with every way in which such a call is known to go wrong.
//
// Nobody lists the calls: each flow is run once without a fault, behind a proxy that notes what it asks of DynamoDB, and
// each call that it noted is then struck by each fault, once and for as long as the step lasts. A call that is added to a
// flow is covered by that. A cell of the matrix has a relying party, a gate and users of its own, so that cells run beside
// each other, on Amazon's own DynamoDB Local.
//
// At the end of each cell, with the fault gone, it holds that
//   - nobody was granted anything without an assertion whose challenge DynamoDB deleted, once, and no answer works again;
//   - the passkeys are those that were acknowledged, and no passkey is there twice or without its owner;
//   - whoever owns the account can go on: they step up, or register where nobody had yet;
//   - every answer came in time, under the name of a reason that the fault explains, the same in the audit;
//   - no goroutine is left.
package matrixtest

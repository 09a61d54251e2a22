// Package storetest is the one suite that every [ceremony.Store] must pass.
//
// The idea: what the rest of Stepgate relies on (a challenge works once, first use is once, a removed passkey stays
// removed, a sign count never goes down) is decided in the stores, so it is tested there, on the real database behind
// each of them, never on a mock. The suite sees only the interface. Each test names the sentence of the contract that
// it is about, and checks the reason of a refusal, so that a refusal for the wrong reason fails.
//
// Whatever a client or a first factor could send is sent: hostile user names, the longest credential ids, one claim
// from many goroutines at once. The suite sleeps nowhere and reads no clock: time is an argument.
package storetest

import (
	"testing"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/transfer"
)

// RPID is the relying party whose store the suite is given; OtherRPID is a second one of the same database.
const (
	RPID      = "example.com"
	OtherRPID = "other.example"
)

// Database is a database under test that can be asked for more than one store.
type Database struct {
	For    func(rpID string) ceremony.Store  // the store of one relying party
	Close  func() error                      // after it every method fails; nil when the store can't be closed
	Reopen func(t *testing.T) ceremony.Store // closes and opens again, for RPID; nil when there is nothing to open
}

// Run tests a store. open returns one for [RPID] that holds nothing, as often as it is called, and cleans up after t.
func Run(t *testing.T, open func(t *testing.T) ceremony.Store) {
	for name, test := range map[string]func(*testing.T, ceremony.Store){
		"challenge":               testChallenge,
		"challenge/expiry":        testExpiry,
		"challenge/kept":          testFailedCheckKeepsChallenge,
		"challenge/one winner":    testConsumeOnce,
		"challenge/no passkeys":   testBeginWithoutPasskeys,
		"challenge/repeated":      testRepeatedChallenge,
		"challenge/issued":        testIssue,
		"challenge/removal":       testConsumeAfterRemoval,
		"account/never seen":      testNeverSeen,
		"account/complete":        testAccountComplete,
		"account/hostile names":   testHostileNames,
		"register/first use":      testFirstPasskeyOnce,
		"register/unique id":      testCredentialIDUnique,
		"register/one owner":      testCredentialIDRace,
		"register/long id":        testLongCredentialID,
		"register/lost answer":    testRegisterLostAnswer,
		"register/conflict":       testRegisterConflict,
		"change/rename":           testRename,
		"change/remove":           testRemove,
		"change/user":             testChangeUser,
		"change/one winner":       testChangeRace,
		"change/recovery codes":   testRecoveryCodes,
		"erase":                   testErase,
		"erase/one winner":        testEraseRace,
		"use":                     testUse,
		"use/learn backup":        testLearnBackup,
		"use/sign count":          testSignCount,
		"use/lost answer":         testUseLostAnswer,
		"use/after removal":       testUseAfterRemoval,
		"use/concurrent counts":   testConcurrentUses,
		"use/concurrent renaming": testUseWhileRenaming,
		"use/concurrent removal":  testUseWhileRemoving,
		"context":                 testContext,
		"mistakes":                testMistakes,
		"invitation":              testInvitation,
		"invitation/one winner":   testInvitationOnce,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// RunDatabase tests a store as [Run] does, and besides what takes a whole database: several relying parties, closing,
// opening again, and, of stores that implement [transfer.Store], moving. open returns an empty database, as often as it is called, and cleans up after t.
func RunDatabase(t *testing.T, open func(t *testing.T) Database) {
	Run(t, func(t *testing.T) ceremony.Store { return open(t).For(RPID) })
	t.Run("relying parties", func(t *testing.T) { testRelyingParties(t, open(t)) })
	if probe := open(t); probe.Close != nil {
		t.Run("closed", func(t *testing.T) { testClosed(t, open(t)) })
	}
	if probe := open(t); probe.Reopen != nil {
		t.Run("reopened", func(t *testing.T) { testReopened(t, open(t)) })
	}
	if _, ok := open(t).For(RPID).(transfer.Store); ok {
		runTransfer(t, open)
	}
}

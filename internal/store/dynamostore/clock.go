package dynamostore

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// The clocks of gateways that share tables must agree: one that is ahead makes grants, challenges and invitations that live
// longer on the others. Every answer of DynamoDB says what time it is there, so each gateway compares itself with it, and one
// that is off does nothing that rests on the time: it neither reads an account, nor begins nor ends a ceremony.

// clockCheck compares this machine's clock with DynamoDB's.
type clockCheck struct {
	now  func() time.Time
	most time.Duration // 0: it is not compared
	off  atomic.Int64  // how far ours is ahead at the least, in nanoseconds, where that is more than most; 0 where it is not
}

// saw takes note of what time it was there when it answered what was sent and received at these times here. It was some time
// between the two, and the answer says it in whole seconds: ours is off where no time between fits.
func (c *clockCheck) saw(sent, received time.Time, header http.Header) {
	there, err := http.ParseTime(header.Get("Date"))
	if c.most == 0 || err != nil {
		return
	}
	sent, received = sent.Round(0), received.Round(0) // as they were shown: time that passed says nothing of a clock
	if received.Before(sent) {
		sent, received = received, sent // it was set back meanwhile
	}
	var off time.Duration
	if ahead := sent.Sub(there.Add(time.Second)); ahead > c.most {
		off = ahead
	}
	if behind := there.Sub(received); behind > c.most {
		off = -behind
	}
	c.off.Store(int64(off))
}

// err tells how this machine's clock is off, or nil.
func (c *clockCheck) err() error {
	off := time.Duration(c.off.Load())
	switch {
	case off > 0:
		return fmt.Errorf("this machine's clock is ahead of DynamoDB's by %s at the least, and at the most it may be by %s: set it (NTP)", off.Round(time.Millisecond), c.most)
	case off < 0:
		return fmt.Errorf("this machine's clock is behind DynamoDB's by %s at the least, and at the most it may be by %s: set it (NTP)", (-off).Round(time.Millisecond), c.most)
	}
	return nil
}

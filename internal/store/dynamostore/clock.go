package dynamostore

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The clocks of gateways that share tables must agree: one that is ahead makes grants, challenges and invitations that live
// longer on the others. Every answer of DynamoDB says what time it is there, so each gateway compares itself with it, and one
// that is off does nothing that rests on the time: it neither reads an account, nor begins nor ends a ceremony.

// slowest is how long an answer may take that says something of the clock. The longer it takes, the less it says: one that is
// slower changes nothing, unless no time fits it by which the clock would be right.
const slowest = time.Second

// clockCheck compares this machine's clock with DynamoDB's.
type clockCheck struct {
	now  func() time.Time
	most time.Duration // 0: it is not compared

	mu   sync.Mutex
	sent uint64        // how many were sent
	by   uint64        // which of them off is from
	off  time.Duration // how far ours is ahead at the worst, where that is more than most; 0 where it is not
}

// asking is when something was sent: by this machine's clock, and among all that was sent, which no clock changes.
type asking struct {
	at    time.Time
	order uint64
}

func (c *clockCheck) ask() asking {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return asking{c.now(), c.sent}
}

// saw takes note of what time it was there when it answered what was asked, received at that time here. It was some time
// between the two, and the answer says it in whole seconds, the rest left off: ours is right only where every time that fits is
// within most. So one that is right to a second or two never counts as off, and one that is off by more than most always does.
func (c *clockCheck) saw(asked asking, received time.Time, header http.Header) {
	there, err := http.ParseTime(header.Get("Date"))
	if c.most == 0 || err != nil {
		return
	}
	sent, received := asked.at.Round(0), received.Round(0) // as they were shown: time that passed says nothing of a clock
	if received.Before(sent) {
		sent, received = received, sent // it was set back meanwhile
	}
	ahead, behind := received.Sub(there), there.Add(time.Second).Sub(sent) // at the worst
	slow := received.Sub(sent) > slowest
	if slow {
		ahead, behind = sent.Sub(there.Add(time.Second)), there.Sub(received) // at the least
	}
	var off time.Duration
	switch {
	case ahead > c.most && ahead > behind:
		off = ahead
	case behind > c.most:
		off = -behind
	case slow:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if asked.order > c.by { // else something asked later was answered before, and the clock may have been set in between
		c.by, c.off = asked.order, off
	}
}

// err tells how this machine's clock is off, or nil.
func (c *clockCheck) err() error {
	c.mu.Lock()
	off := c.off
	c.mu.Unlock()
	switch {
	case off > 0:
		return fmt.Errorf("this machine's clock is ahead of DynamoDB's by up to %s, and it may be by %s at the most: set it (NTP)", off.Round(time.Millisecond), c.most)
	case off < 0:
		return fmt.Errorf("this machine's clock is behind DynamoDB's by up to %s, and it may be by %s at the most: set it (NTP)", (-off).Round(time.Millisecond), c.most)
	}
	return nil
}

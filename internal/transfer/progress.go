package transfer

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Meter shows progress on a terminal, about once a second in one line, or in a log, a line every five seconds. It shows
// nothing of what takes less. It is not safe for concurrent use; it writes when it is told something, never by itself.
type Meter struct {
	Out  io.Writer
	Verb string           // for example "exported"
	Live bool             // Out is a terminal
	Now  func() time.Time // default [time.Now]

	last  time.Time
	width int // of what stands in the terminal's line
}

// Show is an [Options].Progress.
func (m *Meter) Show(done fmt.Stringer) {
	if m.Now == nil {
		m.Now = time.Now
	}
	interval := 5 * time.Second
	if m.Live {
		interval = time.Second
	}
	switch now := m.Now(); {
	case m.last.IsZero():
		m.last = now
	case now.Sub(m.last) >= interval:
		m.last = now
		m.write(m.Verb + " " + done.String())
	}
}

func (m *Meter) write(text string) {
	if !m.Live {
		fmt.Fprintln(m.Out, text)
		return
	}
	width := utf8.RuneCountInString(text)
	fmt.Fprint(m.Out, "\r", text, strings.Repeat(" ", max(0, m.width-width)))
	m.width = width
}

// End makes room for what is written next.
func (m *Meter) End() {
	if m.width > 0 {
		fmt.Fprint(m.Out, "\r", strings.Repeat(" ", m.width), "\r")
		m.width = 0
	}
}

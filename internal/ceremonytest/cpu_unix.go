//go:build unix

package ceremonytest

import (
	"syscall"
	"testing"
	"time"
)

// cpu returns how much CPU time this process has used, its own and the system's for it.
func cpu(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

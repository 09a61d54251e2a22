package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// childVariable makes the test binary do something else, in a process of its own.
const childVariable = "BOLTSTORE_TEST_CHILD"

// child holds the file open until its standard input ends, or registers passkeys until it is killed.
func child(do, path string) int {
	db, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if do == "hold" {
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	ctx, s := context.Background(), db.For(rpID)
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s %d", do, i)
		p := newPasskey(name)
		account, err := s.Account(ctx, name)
		if err == nil {
			account.User, err = account.User.Adding(p)
		}
		if err == nil {
			err = s.Register(ctx, account.User, p)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(name) // unbuffered: acknowledged only after it was registered
	}
}

func startChild(t *testing.T, do, path string) (cmd *exec.Cmd, stdin io.Closer, stdout *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), childVariable+"="+do)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, bufio.NewScanner(out)
}

// Whatever was acknowledged before the process was killed is there afterwards, round after round on one file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var acknowledged []string
	for round := range 10 {
		cmd, _, stdout := startChild(t, fmt.Sprint("round ", round), path)
		for n := 1 + random.IntN(30); n > 0 && stdout.Scan(); n-- {
			acknowledged = append(acknowledged, stdout.Text())
		}
		// Somewhere in the next transactions, not right after an acknowledgement.
		spin(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for stdout.Scan() {
			acknowledged = append(acknowledged, stdout.Text())
		}
		_ = cmd.Wait() // "signal: killed"

		db := open(t, path, boltstore.Options{})
		for _, name := range acknowledged {
			account, err := db.For(rpID).Account(t.Context(), name)
			if err != nil {
				t.Fatalf("round %d: %q: %v", round, name, err)
			}
			if account.User.Version != 1 || len(account.Passkeys) != 1 {
				t.Fatalf("round %d: %q was acknowledged and has version %d and %d passkeys",
					round, name, account.User.Version, len(account.Passkeys))
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 10 {
		t.Errorf("only %d registrations were acknowledged", len(acknowledged))
	}
}

// spin passes less time than a timer could measure out.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// One gateway at a time: the second one is told what to do instead.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	locked := func(t *testing.T) {
		t.Helper()
		_, err := boltstore.Open(path, boltstore.Options{Timeout: 60 * time.Millisecond})
		if !errors.Is(err, berrors.ErrTimeout) {
			t.Fatalf("opening a file that is open: %v, want one that wraps bbolt's timeout", err)
		}
		for _, want := range []string{path, "another process, usually another running Stepgate", "stepgate reload", "stop it"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
	t.Run("by this process", func(t *testing.T) {
		db := open(t, path, boltstore.Options{})
		locked(t)
		register(t, db.For(rpID), "ada", newPasskey("laptop")) // the first one is none the worse
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, path, boltstore.Options{})
	})
	t.Run("by another process", func(t *testing.T) {
		cmd, stdin, stdout := startChild(t, "hold", path)
		if !stdout.Scan() || stdout.Text() != "open" {
			t.Fatalf("child said %q", stdout.Text())
		}
		locked(t)
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		open(t, path, boltstore.Options{})
	})
}

// Package browsertest drives a real headless Chromium in tests: tabs, virtual authenticators, screenshots and the axe
// accessibility checks.
//
// It is a thin layer over chromedp. Whatever goes wrong ends the test with the page's address and text, because a
// browser test that fails without saying what was on the screen is no use. Nothing here sleeps: [Tab.Wait] polls a
// condition until it holds or the tab's patience is over.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Browser is one Chromium process. Its tabs may be used from parallel tests, each from one goroutine.
type Browser struct {
	ctx context.Context
}

// Options change how Chromium starts. The zero value suits pages on http://localhost.
type Options struct {
	// Hosts maps host:port patterns to addresses, for example "*.example.test:443" to "127.0.0.1:8443". Certificates
	// are then not checked.
	Hosts map[string]string
	// Flags are further command line flags, without the dashes.
	Flags map[string]any
}

// Path returns Chromium's path: that of the environment variable CHROMIUM, or the first of the usual names in PATH. A
// machine without it fails the test: a browser test that is skipped proves nothing.
func Path(tb testing.TB) string {
	tb.Helper()
	path, err := FindChromium()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// FindChromium is [Path] for a TestMain.
func FindChromium() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("CHROMIUM names no file: %w", err)
		}
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no Chromium found: install one (Debian: apt-get install -y --no-install-recommends chromium) or set CHROMIUM to its path")
}

// Start starts Chromium and stops it at the end of the test.
func Start(tb testing.TB, o Options) *Browser {
	tb.Helper()
	b, stop, err := Launch(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return b
}

// Launch is [Start] for a TestMain, which has no testing.TB: call stop before the process exits, or Chromium outlives it.
func Launch(o Options) (b *Browser, stop func(), err error) {
	path, err := FindChromium()
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		return nil, nil, fmt.Errorf("making a profile for Chromium: %w", err)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-US"),
	)
	if os.Geteuid() == 0 {
		flags = append(flags, chromedp.NoSandbox)
	}
	if len(o.Hosts) > 0 {
		rules := make([]string, 0, len(o.Hosts))
		for pattern, address := range o.Hosts {
			rules = append(rules, "MAP "+pattern+" "+address)
		}
		flags = append(flags, chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")), chromedp.IgnoreCertErrors)
	}
	for name, value := range o.Flags {
		flags = append(flags, chromedp.Flag(name, value))
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, stopBrowser := chromedp.NewContext(allocator)
	stop = func() {
		_ = chromedp.Cancel(ctx) // waits for the process, so that its profile can go
		stopBrowser()
		stopAllocator()
		_ = os.RemoveAll(profile)
	}
	if err := chromedp.Do(ctx); err != nil {
		stop()
		return nil, nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return &Browser{ctx: ctx}, stop, nil
}

// Tab opens a tab with cookies and storage of its own, as if in another browser, and closes it at the end of the test.
func (b *Browser) Tab(tb testing.TB) *Tab {
	tb.Helper()
	return newTab(tb, b.ctx, chromedp.WithNewBrowserContext())
}

// RepositoryRoot returns the folder that holds go.mod, above the test's own.
func RepositoryRoot(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

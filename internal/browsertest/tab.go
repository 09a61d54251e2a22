package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a condition may take: long for a page, short for a person who waits for the tests.
const patience = 20 * time.Second

// Tab is one tab. Its methods end the test when they fail.
type Tab struct {
	tb  testing.TB
	ctx context.Context
	log *complaints
}

type complaints struct {
	mu   sync.Mutex
	list []string
}

// In returns the same tab for use in a subtest, so that a failure ends that one.
func (t *Tab) In(tb testing.TB) *Tab { return &Tab{tb: tb, ctx: t.ctx, log: t.log} }

func newTab(tb testing.TB, parent context.Context, options ...chromedp.ContextOption) *Tab {
	tb.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	tb.Cleanup(cancel)
	t := &Tab{tb: tb, ctx: ctx, log: &complaints{}}
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("opening a tab: %v", err)
	}
	if err := chromedp.Listen(ctx, t.log.listen); err != nil {
		tb.Fatalf("listening to the tab: %v", err)
	}
	t.Call("Log.enable", nil, nil)
	// A tab behind another one has no focus, and a passkey prompt needs it. Emulated, every tab of a test has it.
	t.Call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil)
	t.Call("WebAuthn.enable", map[string]any{"enableUI": false}, nil)
	return t
}

// Sibling opens another tab of the same browser: it shares cookies and storage of the origin, but not sessionStorage
// and virtual authenticators.
func (t *Tab) Sibling() *Tab {
	t.tb.Helper()
	return newTab(t.tb, t.ctx)
}

func (c *complaints) listen(event any) {
	var problem string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			problem += " " + x.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			problem = string(e.Entry.Source) + ": " + e.Entry.Text
		}
	default:
		return
	}
	if problem != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.list = append(c.list, problem)
	}
}

// Problems returns what the browser complained about so far: uncaught exceptions and violations of the content
// security policy among them. Answers with an error status are not counted.
func (t *Tab) Problems() []string {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	return append([]string(nil), t.log.list...)
}

// Call sends a raw command of the DevTools protocol, for those whose typed form does not work.
func (t *Tab) Call(method string, params, result any) {
	t.tb.Helper()
	if params == nil {
		params = struct{}{}
	}
	if result == nil {
		result = new(json.RawMessage)
	}
	err := chromedp.Do(t.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		return target.Call(ctx, method, params, result)
	}))
	if err != nil {
		t.tb.Fatalf("%s: %v", method, err)
	}
}

// Open goes to a URL and waits until it has loaded.
func (t *Tab) Open(url string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.tb.Fatalf("opening %s: %v", url, err)
	}
}

// Reload loads the page again and waits until it has loaded.
func (t *Tab) Reload() {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		t.tb.Fatalf("reloading: %v", err)
	}
}

// OnEveryPage runs a script before those of every page that the tab opens from now on.
func (t *Tab) OnEveryPage(script string) {
	t.tb.Helper()
	if _, err := chromedp.Call(t.ctx, page.AddScriptToEvaluateOnNewDocument,
		page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		t.tb.Fatalf("adding a script: %v", err)
	}
}

// Eval returns the value of a JavaScript expression; a promise is awaited.
func Eval[T any](t *Tab, expression string) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.tb.Fatalf("evaluating %s: %v\n%s", expression, err, t.describe())
	}
	return value
}

// Run evaluates a JavaScript expression for its effect.
func (t *Tab) Run(expression string) {
	t.tb.Helper()
	Eval[chromedp.Void](t, expression)
}

// Wait waits until a JavaScript expression is true. It outlives navigations.
func (t *Tab) Wait(condition string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		if ok && err == nil {
			return
		}
		select {
		case <-tick.C: // an error is a page between two documents, or not there yet
		case <-ctx.Done():
			t.tb.Fatalf("waited %v for %s (last error: %v)\n%s", patience, condition, err, t.describe())
		}
	}
}

// WaitPath waits until the tab shows the page with this path and query.
func (t *Tab) WaitPath(path string) {
	t.tb.Helper()
	t.Wait(fmt.Sprintf("document.readyState === 'complete' && location.pathname + location.search === %q", path))
}

// Text returns the text of the first element that matches, as it is rendered: hidden parts are left out.
func (t *Tab) Text(selector string) string {
	t.tb.Helper()
	return Eval[string](t, fmt.Sprintf("document.querySelector(%q)?.innerText ?? '(no '+%q+')'", selector, selector))
}

// Click waits until an element can be seen and clicks it with the mouse, which counts as a person's gesture.
func (t *Tab) Click(selector string) {
	t.tb.Helper()
	t.Wait(fmt.Sprintf("document.querySelector(%q)?.checkVisibility()", selector))
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		t.tb.Fatalf("clicking %s: %v\n%s", selector, err, t.describe())
	}
}

// Fill replaces the text of a field by typing.
func (t *Tab) Fill(selector, text string) {
	t.tb.Helper()
	t.Click(selector)
	t.Run(fmt.Sprintf("document.querySelector(%q).select()", selector))
	if _, err := chromedp.Call(t.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		t.tb.Fatalf("typing into %s: %v", selector, err)
	}
}

// Keys presses keys, as [chromedp.KeyEvent] spells them, where the focus is.
func (t *Tab) Keys(keys string) {
	t.tb.Helper()
	if err := chromedp.Do(t.ctx, chromedp.KeyEvent(keys)); err != nil {
		t.tb.Fatalf("pressing %q: %v", keys, err)
	}
}

// Viewport sets the window's size in CSS pixels.
func (t *Tab) Viewport(width, height int) {
	t.tb.Helper()
	t.Call("Emulation.setDeviceMetricsOverride",
		map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// Scheme sets the preferred colour scheme: light or dark. It also asks for reduced motion, so that what is looked at
// next is not between two colours.
func (t *Tab) Scheme(scheme string) {
	t.tb.Helper()
	t.media(&emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme},
		&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
}

// ForcedColors switches the system's high-contrast colours on.
func (t *Tab) ForcedColors() {
	t.tb.Helper()
	t.media(&emulation.MediaFeature{Name: "forced-colors", Value: "active"})
}

func (t *Tab) media(features ...*emulation.MediaFeature) {
	t.tb.Helper()
	t.Call("Emulation.setEmulatedMedia", map[string]any{"features": features}, nil)
}

// NoScript switches scripting off, or on again, for the pages that the tab opens from now on.
func (t *Tab) NoScript(off bool) {
	t.tb.Helper()
	t.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": off}, nil)
}

// Screenshot writes a PNG of the whole page to $SCREENSHOTS/name.png; without that variable it does nothing.
func (t *Tab) Screenshot(name string) {
	t.tb.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		t.tb.Fatalf("taking screenshot %s: %v", name, err)
	}
}

// describe says what is on the screen, for failures.
func (t *Tab) describe() string {
	ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		"location.href + ' ' + JSON.stringify({...document.querySelector('main')?.dataset}) + '\\n' + document.body?.innerText"))
	if err != nil {
		text = err.Error()
	}
	if problems := t.Problems(); len(problems) > 0 {
		text += "\nthe browser complained:\n" + strings.Join(problems, "\n")
	}
	return "the page: " + text
}

package caddymodule

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

// await waits for something that a goroutine does soon.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatalf("never %s", what)
		}
	}
}

// The metadata is shared by the configurations of a reload, and let go with the last of them.
func TestMetadataOutlivesReloads(t *testing.T) {
	folder, authority := t.TempDir(), metadatatest.NewAuthority()
	place, root := filepath.Join(folder, "mds.jwt"), filepath.Join(folder, "root.pem")
	blob := authority.Blob(metadatatest.Blob{Number: 1, NextUpdate: time.Now().AddDate(0, 1, 0)})
	for path, text := range map[string][]byte{place: blob, root: authority.PEM()} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := heldMetadata{place: place, root: root}
	if before.current() != nil {
		t.Error("there before it was opened")
	}
	if err := before.open(); err != nil {
		t.Fatal(err)
	}
	await(t, "loaded", func() bool { return before.current() != nil })
	after := heldMetadata{place: place, root: root}
	if err := after.open(); err != nil {
		t.Fatal(err)
	}
	if after.current() == nil || after.holder != before.holder {
		t.Error("the new configuration loads it anew")
	}
	other := heldMetadata{place: place}
	if err := other.open(); err != nil {
		t.Fatal(err)
	}
	if other.holder == before.holder {
		t.Error("shared by configurations with another root")
	}
	running, _ := openMetadata.References(place + "\x00" + root)
	for _, held := range []*heldMetadata{&before, &other, &after} {
		if err := held.close(); err != nil || held.close() != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if references, there := openMetadata.References(place + "\x00" + root); running != 2 || there {
		t.Errorf("held by %d, and by %d afterwards", running, references)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.metadata)
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("gauges of nothing: %v, %v", families, err)
	}
}

// Starting does not wait for an address that never answers, and validating asks none.
func TestMetadataIsNotAwaited(t *testing.T) {
	for _, place := range []string{"https://localhost:1/never", filepath.Join(t.TempDir(), "never.jwt")} {
		held := heldMetadata{place: place}
		began := time.Now()
		if err := held.open(); err != nil || held.current() != nil {
			t.Errorf("%s: %v", place, err)
		}
		if err := held.close(); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %v, after %s", place, err, time.Since(began))
		}
	}
}

// A file system that hangs keeps neither the store from whoever comes next, nor the configuration from ending.
func TestMetadataHangs(t *testing.T) {
	holder := metadata.NewHolder((&heldMetadata{place: "mds.jwt"}).config())
	hanging := &runningMetadata{holder, func() {}, make(chan struct{})}
	var order []string
	a := &App{opened: &OpenStore{Release: func() error { order = append(order, "store"); return nil }}}
	a.metadata.release = func() error {
		order = append(order, "metadata")
		if !a.mu.TryLock() {
			t.Error("whoever asks for the store meanwhile waits too")
		} else {
			a.mu.Unlock()
		}
		return hanging.Destruct()
	}
	began := time.Now()
	if err := a.Cleanup(); err != nil || time.Since(began) > 15*time.Second {
		t.Errorf("%v, after %s", err, time.Since(began))
	}
	if got := strings.Join(order, " "); got != "store metadata" {
		t.Errorf("released %s", got)
	}
	if err := a.Cleanup(); err != nil || len(order) != 2 {
		t.Errorf("again: %v, %v", err, order)
	}
}

// What loads the metadata outlives the configuration that began it, and must not keep all of it.
func TestMetadataKeepsNoApp(t *testing.T) {
	collected := make(chan struct{})
	config := func() metadata.Config {
		a := &App{metadata: heldMetadata{place: "mds.jwt", root: "root.pem"}}
		runtime.AddCleanup(a, func(done chan struct{}) { close(done) }, collected)
		return a.metadata.config()
	}()
	await(t, "collected", func() bool {
		runtime.GC()
		select {
		case <-collected:
			return true
		default:
			return false
		}
	})
	runtime.KeepAlive(config)
}

// A root is one certificate and nothing else.
func TestReadRoot(t *testing.T) {
	authority := metadatatest.NewAuthority()
	good := string(authority.PEM())
	for name, test := range map[string]struct{ text, want string }{
		"one":           {good, ""},
		"with a blank":  {good + "\n\n", ""},
		"two":           {good + good, "must hold one certificate"},
		"none":          {"", "must hold one certificate"},
		"a key":         {strings.ReplaceAll(good, "CERTIFICATE", "PRIVATE KEY"), "must hold one certificate"},
		"no DER inside": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x509"},
	} {
		path := filepath.Join(t.TempDir(), "root.pem")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := readRoot(path)
		if test.want == "" && (err != nil || !root.Equal(authority.Root)) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readRoot(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a file that is not there")
	}
}

// What is fetched is kept in Caddy's data directory, by its address; what is in a file needs no copy.
func TestMetadataCache(t *testing.T) {
	address := (&heldMetadata{place: defaultMetadata}).config()
	if !strings.HasPrefix(address.Cache, filepath.Join(caddy.AppDataDir(), "stepgate", "metadata-")) {
		t.Errorf("kept in %q", address.Cache)
	}
	if another := (&heldMetadata{place: "https://mds.example.com/"}).config(); another.Cache == address.Cache {
		t.Error("two addresses share a cache")
	}
	if file := (&heldMetadata{place: "mds.jwt"}).config(); file.Cache != "" {
		t.Errorf("a file is kept in %q", file.Cache)
	}
	if signer, err := address.Signer(); err != nil || len(signer.Names) == 0 || signer.Root == nil {
		t.Errorf("without a root: %+v, %v", signer, err)
	}
	var _ metadata.Source = address.Source
}

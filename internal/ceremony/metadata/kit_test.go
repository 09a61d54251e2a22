package metadata_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

var (
	now       = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	next      = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	authority = metadatatest.NewAuthority()
	signer    = metadata.Signer{Root: authority.Root}
	model     = [16]byte{1, 2, 3}
	other     = [16]byte{4, 5, 6}
)

// blob is one of the authority's with a number and two models.
func blob(number int, statuses ...metadatatest.Status) []byte {
	return authority.Blob(metadatatest.Blob{Number: number, NextUpdate: next, Models: []metadatatest.Model{
		{AAGUID: model, Statuses: statuses}, {AAGUID: other},
	}})
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fixed is a source that a test changes.
type fixed struct {
	mu   sync.Mutex
	blob []byte
	err  error
}

func (f *fixed) set(blob []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blob, f.err = blob, err
}

func (f *fixed) Read(_ context.Context, now time.Time) ([]byte, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blob, now, f.err
}

func (f *fixed) Await(ctx context.Context, wait func(context.Context, time.Duration), _ *metadata.Snapshot, _ int, _ time.Time) {
	wait(ctx, time.Hour)
}

func (f *fixed) Name() string { return "the test" }

// holder returns a holder of the authority's BLOBs, and the results it counts.
func holder(t *testing.T, source metadata.Source, changes ...func(*metadata.Config)) (*metadata.Holder, *clocktest.Clock, *[]metadata.Result) {
	t.Helper()
	clock, results := clocktest.New(now), new([]metadata.Result)
	config := metadata.Config{Source: source, Signer: func() (metadata.Signer, error) { return signer, nil }, Now: clock.Now, Count: func(r metadata.Result) { *results = append(*results, r) }}
	for _, change := range changes {
		change(&config)
	}
	return metadata.NewHolder(config), clock, results
}

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// The store's logger was made under a configuration whose log file is closed by now; it writes to the present one's.
func TestLiveLoggerFollowsReloads(t *testing.T) {
	logger := liveLogger(FileStore{}.CaddyModule()).With(zap.String("file", "x.db"))
	folder := t.TempDir()
	t.Cleanup(func() { _ = caddy.Stop() })
	for _, name := range []string{"first", "second"} {
		path := filepath.Join(folder, name)
		config := `{"admin": {"disabled": true, "config": {"persist": false}},
			"logging": {"logs": {"default": {"level": "WARN", "writer": {"output": "file", "filename": "` + path + `"}}}}}`
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
		logger.Debug("hidden")
		logger.Warn("warning under " + name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for want, count := range map[string]int{"hidden": 0, "warning": 1, "warning under " + name: 1, `"file":"x.db"`: 1, "stepgate.stores.file": 1} {
			if got := strings.Count(string(text), want); got != count {
				t.Errorf("%s is there %d times, want %d: %s", want, got, count, text)
			}
		}
	}
}

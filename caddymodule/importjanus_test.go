package caddymodule_test

import (
	"os"
	"strings"
	"testing"
)

// What is asked for wrongly is refused before anything is read or written.
func TestImportFromJanusRefuses(t *testing.T) {
	s := newShop(t, fileStore)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	for _, test := range []struct {
		want      string
		arguments []string
	}{
		{"import --from janus reads a table and takes no file", []string{"--from", "janus", "export"}},
		{`--from "keystone" is unknown: it is export or janus`, []string{"--from", "keystone"}},
		{"--table is for --from janus", []string{"--table", "Passkeys", "export"}},
		{"--region is for --from janus", []string{"--region", "eu-west-1", "--from", "export", "export"}},
		{"--endpoint is for --from janus", []string{"--endpoint", "http://localhost:1", "export"}},
		{"--user-suffix is for --from janus", []string{"--user-suffix", "@example.com", "export"}},
		{"--janus-host is for --from janus", []string{"--janus-host", "localhost", "export"}},
		{"--janus-host is empty", []string{"--from", "janus", "--janus-host", ""}},
		{`passkeys made at "example.com" are useless at the rp_id "localhost"`, []string{"--from", "janus", "--janus-host", "example.com"}},
		{"no AWS region", []string{"--from", "janus"}},
		{`"Ireland" is no AWS region`, []string{"--from", "janus", "--region", "Ireland"}},
		{`"a/b" can't be a table's name`, []string{"--from", "janus", "--region", "eu-west-1", "--table", "a/b"}},
		{"is no endpoint", []string{"--from", "janus", "--region", "eu-west-1", "--endpoint", "localhost"}},
	} {
		s.fails(test.want, append([]string{"import"}, test.arguments...)...)
	}
	if entries, _ := os.ReadDir(s.folder); len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
	help, _, code := s.call("", "import", "--help")
	for _, want := range []string{
		"--from janus", "dynamodb:Scan", "rp_id has to be the host of Janus's HOST", "--user-suffix @example.com", "Stop Janus first", "fold_user", "exit code is 1", "Examples:",
	} {
		if code != 0 || !strings.Contains(strings.Join(strings.Fields(help), " "), want) {
			t.Errorf("help does not say %q:\n%s", want, help)
		}
	}
}

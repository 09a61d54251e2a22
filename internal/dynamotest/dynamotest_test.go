package dynamotest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/dynamotest"
)

// ask makes one call as an AWS client would and returns the answer's body. Any signature will do.
func ask(t *testing.T, endpoint, operation, body string) string {
	t.Helper()
	r, err := http.NewRequest("POST", endpoint, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", operation, answer.Status, text)
	}
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const table = `{"TableName":"Kit","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],
	"AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}]}`

// The kit itself: it starts with no table, keeps one, listens on 127.0.0.1 only, and stops.
func TestKit(t *testing.T) {
	endpoint, stop, err := dynamotest.Launch()
	must(t, err)
	defer stop()
	if got, want := ask(t, endpoint, "ListTables", "{}"), `{"TableNames":[]}`; got != want {
		t.Errorf("at first: %s, want %s", got, want)
	}
	ask(t, endpoint, "CreateTable", table)
	if got, want := ask(t, endpoint, "ListTables", "{}"), `{"TableNames":["Kit"]}`; got != want {
		t.Errorf("with a table: %s, want %s", got, want)
	}

	address, found := strings.CutPrefix(endpoint, "http://")
	host, port, err := net.SplitHostPort(address)
	if !found || err != nil || host != "127.0.0.1" {
		t.Fatalf("the endpoint is %q (%v)", endpoint, err)
	}
	for _, other := range otherAddresses(t) {
		refused(t, net.JoinHostPort(other, port))
	}

	stop()
	refused(t, address)
	stop() // again does no harm
}

// otherAddresses lists this machine's addresses but 127.0.0.1.
func otherAddresses(t *testing.T) (list []string) {
	t.Helper()
	if runtime.GOOS == "linux" {
		list = append(list, "127.0.0.2") // there the whole network is local
	}
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if ok && !network.IP.IsLinkLocalUnicast() && network.IP.String() != "127.0.0.1" { // link-local ones need a zone
			list = append(list, network.IP.String())
		}
	}
	if len(list) == 0 {
		t.Fatal("this machine has no address to try but 127.0.0.1")
	}
	return list
}

func refused(t *testing.T, address string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err == nil {
		connection.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting to %s: %v, want it refused", address, err)
	}
}

// Two run side by side and share nothing.
func TestApart(t *testing.T) {
	one, two := dynamotest.Start(t), dynamotest.Start(t)
	ask(t, one, "CreateTable", table)
	if got, want := ask(t, two, "ListTables", "{}"), `{"TableNames":[]}`; got != want {
		t.Errorf("the other one has %s, want %s", got, want)
	}
}

// On a fixed port with a folder, a table outlives the process. It says the port that it was told.
func TestFolderKeepsTables(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	must(t, listener.Close())
	endpoint, data := "http://127.0.0.1:"+port, t.TempDir()

	run := func(use func()) {
		t.Helper()
		process, err := dynamotest.Command(t.TempDir(), port, data)
		must(t, err)
		output, err := process.StdoutPipe()
		must(t, err)
		must(t, process.Start())
		defer func() {
			process.Process.Kill()
			process.Wait()
		}()
		line, err := bufio.NewReader(output).ReadString('\n')
		if err != nil || line != endpoint+"\n" {
			t.Fatalf("it says %q (%v), want %q", line, err, endpoint)
		}
		use()
	}
	run(func() { ask(t, endpoint, "CreateTable", table) })
	run(func() {
		if got, want := ask(t, endpoint, "ListTables", "{}"), `{"TableNames":["Kit"]}`; got != want {
			t.Errorf("after a restart: %s, want %s", got, want)
		}
	})
}

// What is missing is named, with the command that fetches it.
func TestMissing(t *testing.T) {
	holds := func(what string) {
		t.Helper()
		if _, _, err := dynamotest.Launch(); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "make needs") {
			t.Errorf("error %v, want one that says %q and `make needs`", err, what)
		}
	}
	t.Run("Java", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		holds("JDK")
	})
	t.Run("jar", func(t *testing.T) {
		t.Setenv("DYNAMODB_LOCAL", t.TempDir())
		holds("DynamoDB Local")
	})
	t.Run("jar is broken", func(t *testing.T) {
		folder := t.TempDir()
		must(t, os.WriteFile(filepath.Join(folder, "DynamoDBLocal.jar"), nil, 0o600))
		t.Setenv("DYNAMODB_LOCAL", folder)
		holds("ended before it was ready")
	})
}

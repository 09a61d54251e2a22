// Package dynamotest runs Amazon's own DynamoDB Local for tests: real conditions, transactions and limits, where a mock
// would only repeat what its author believed.
//
// Each process that is launched has a database of its own, in memory, that nobody else on the network reaches: it
// listens on 127.0.0.1 only (Loopback.java says how). It takes any credentials; a client must send some. It ends when
// the tests do, even when they are killed.
//
// What it needs is fetched by `make needs`: the jar, and a JDK. Without them a test fails, it is never skipped. The
// jar's native SQLite is built for Intel and AMD processors; elsewhere the JDK must be one for those.
//
// DynamoDB Local differs from AWS in ways that tests meet:
//   - single writes return no item with ReturnValuesOnConditionCheckFailure, transactions do;
//   - a transaction has 10 items at most, and waits for another one on the same item where AWS refuses it;
//   - begins_with on a sort key, and only that, reads its prefix up to the first NUL; BETWEEN is right;
//   - empty strings, binaries and sets are refused as attribute values, empty lists and maps are not;
//   - tags, backups and table policies are an UnknownOperationException; CreateTable ignores tags, encryption and
//     deletion protection;
//   - a Query that finds nothing costs no capacity, and errors carry no X-Amz-Crc32;
//   - answers do not say what time it is: see [Telling].
package dynamotest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed Loopback.java
var loopback []byte

// patience is how long it may take to start or to end: seconds as a rule, but machines that run tests are busy.
const patience = time.Minute

// Start starts DynamoDB Local, stops it at the end of the test and returns its endpoint, such as
// "http://127.0.0.1:34567".
func Start(tb testing.TB) string {
	tb.Helper()
	endpoint, stop, err := Launch()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return endpoint
}

// Launch is [Start] for a TestMain, which has no testing.TB: call stop before the process exits. It takes a second or
// two, so that one for all tests of a package is best, each with tables of its own.
func Launch() (endpoint string, stop func(), err error) {
	folder, err := os.MkdirTemp("", "dynamotest")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for DynamoDB Local: %w", err)
	}
	endpoint, end, err := launch(folder)
	if err != nil {
		_ = os.RemoveAll(folder)
		return "", nil, err
	}
	return endpoint, sync.OnceFunc(func() {
		end()
		_ = os.RemoveAll(folder)
	}), nil
}

func launch(folder string) (endpoint string, end func(), err error) {
	process, err := Command(folder)
	if err != nil {
		return "", nil, err
	}
	input, err := process.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("starting DynamoDB Local: %w", err)
	}
	output, err := process.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("starting DynamoDB Local: %w", err)
	}
	if err := process.Start(); err != nil {
		return "", nil, fmt.Errorf("starting DynamoDB Local: %w", err)
	}
	end = func() {
		_ = input.Close()
		late := time.AfterFunc(patience, func() { _ = process.Process.Kill() })
		defer late.Stop()
		if err := process.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, "DynamoDB Local:", err)
		}
	}
	late := time.AfterFunc(patience, func() { _ = process.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		end()
		return "", nil, fmt.Errorf("DynamoDB Local ended before it was ready; above is what it said, and `make needs` checks that Java is a JDK 17 or newer: %w", err)
	}
	return strings.TrimSpace(line), end, nil
}

// Command returns the command that runs DynamoDB Local in a folder, for tests that end and restart it on the same port
// with its tables. Its arguments are those of Loopback.java: a port, and a folder to keep the tables in. Given a port it
// does not end by itself.
func Command(folder string, arguments ...string) (*exec.Cmd, error) {
	local, err := Folder()
	if err != nil {
		return nil, err
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("DynamoDB Local needs Java, a JDK 17 or newer: run `make needs`")
	}
	source := filepath.Join(folder, "Loopback.java")
	if err := os.WriteFile(source, loopback, 0o600); err != nil {
		return nil, fmt.Errorf("writing what starts DynamoDB Local: %w", err)
	}
	native := filepath.Join(local, "DynamoDBLocal_lib")
	process := exec.Command(java,
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", // up sooner, and modest: several packages may run one each
		"--enable-native-access=ALL-UNNAMED", // for SQLite; newer Java warns without it
		"-Djava.library.path="+native,
		"-cp", filepath.Join(local, jar)+string(os.PathListSeparator)+filepath.Join(native, "*"),
		source)
	process.Args = append(process.Args, arguments...)
	process.Dir = folder
	process.Stderr = os.Stderr
	return process, nil
}

const jar = "DynamoDBLocal.jar"

// Folder returns the folder that holds DynamoDBLocal.jar and DynamoDBLocal_lib: the one that the environment variable
// DYNAMODB_LOCAL names, or .cache/dynamodb-local below the repository's root.
func Folder() (string, error) {
	folder := os.Getenv("DYNAMODB_LOCAL")
	if folder == "" {
		root, err := repositoryRoot()
		if err != nil {
			return "", err
		}
		folder = filepath.Join(root, ".cache", "dynamodb-local")
	}
	if _, err := os.Stat(filepath.Join(folder, jar)); err != nil {
		return "", fmt.Errorf("no DynamoDB Local: run `make needs`, or set DYNAMODB_LOCAL to its folder: %w", err)
	}
	return folder, nil
}

// repositoryRoot returns the folder that holds go.mod, above the test's own.
func repositoryRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the repository's root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("looking for the repository's root: no go.mod above the test")
		}
		folder = parent
	}
}

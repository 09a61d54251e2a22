package dynamostore_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// standIn names the environment variable that makes this binary a stand-in for DynamoDB.
const standIn = "STEPGATE_STANDS_IN_FOR_DYNAMODB"

// launchStandIn starts another process that answers as DynamoDB would to those who make no mistakes: it checks no condition.
// Nothing is tested on it. It is for measuring what calls cost a gateway that makes as many as it can: DynamoDB Local answers
// so few, and takes so much of the machine for it, that a gateway beside it mostly waits, and then works with cold caches.
func launchStandIn(b *testing.B) (address string) {
	b.Helper()
	binary, err := os.Executable()
	must(b, err)
	command := exec.CommandContext(b.Context(), binary)
	command.Env = append(os.Environ(), standIn+"=1")
	input, err := command.StdinPipe()
	must(b, err)
	output, err := command.StdoutPipe()
	must(b, err)
	must(b, command.Start())
	b.Cleanup(func() {
		_ = input.Close() // it ends
		_ = command.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	must(b, err)
	return strings.TrimSpace(line)
}

// serveStandIn is the other process. It ends when its standard input does.
func serveStandIn() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("http://" + listener.Addr().String())
	go func() {
		_ = http.Serve(listener, &partitions{items: map[string]map[string]rawItem{}}) // #nosec G114 -- for benchmarks
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

type rawItem = map[string]json.RawMessage

// partitions are items by table and partition key, then by sort key.
type partitions struct {
	mu    sync.Mutex
	items map[string]map[string]rawItem
}

type standInCall struct {
	TableName                 string
	Item, Key                 rawItem
	UpdateExpression          string
	ExpressionAttributeValues rawItem
	TransactItems             []struct{ Put standInPut }
}

type standInPut struct {
	TableName string
	Item      rawItem
}

func (p *partitions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in standInCall
	if err != nil || json.Unmarshal(body, &in) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	answer, err := json.Marshal(p.answer(operation, in))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(answer)), 10))
	w.Header().Set("X-Amzn-Requestid", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF")
	_, _ = w.Write(answer)
}

func (p *partitions) answer(operation string, in standInCall) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := func(table string, pk json.RawMessage) map[string]rawItem {
		name := table + string(pk)
		if p.items[name] == nil {
			p.items[name] = map[string]rawItem{}
		}
		return p.items[name]
	}
	out := map[string]any{}
	sk := string(in.Key["sk"])
	switch operation {
	case "PutItem":
		of(in.TableName, in.Item["pk"])[string(in.Item["sk"])] = in.Item
	case "DeleteItem":
		partition := of(in.TableName, in.Key["pk"])
		out["Attributes"] = partition[sk]
		delete(partition, sk)
	case "UpdateItem": // "SET a = :a, b = :b REMOVE c"
		it := of(in.TableName, in.Key["pk"])[sk]
		set, remove, _ := strings.Cut(strings.TrimPrefix(in.UpdateExpression, "SET "), " REMOVE ")
		for assignment := range strings.SplitSeq(set, ", ") {
			name, value, _ := strings.Cut(assignment, " = ")
			it[name] = in.ExpressionAttributeValues[value]
		}
		for name := range strings.SplitSeq(remove, ", ") {
			delete(it, name)
		}
	case "Query":
		items := []rawItem{}
		for _, it := range of(in.TableName, in.ExpressionAttributeValues[":pk"]) {
			items = append(items, it)
		}
		out["Items"], out["Count"], out["ScannedCount"] = items, len(items), len(items)
	case "TransactWriteItems":
		for _, part := range in.TransactItems {
			of(part.Put.TableName, part.Put.Item["pk"])[string(part.Put.Item["sk"])] = part.Put.Item
		}
	}
	return out
}

package gatewaytest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Raw sends bytes over TLS and returns the first answer, or nil where the connection was closed without one.
func (g *Gateway) Raw(text string) *Reply {
	g.T.Helper()
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: Patience}, "tcp", fmt.Sprintf("127.0.0.1:%d", g.Port),
		&tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	Must(g.T, err)
	defer connection.Close()
	Must(g.T, connection.SetDeadline(time.Now().Add(Patience)))
	text = strings.ReplaceAll(g.Fill(text), "\n", "\r\n")
	if _, err := io.WriteString(connection, text+"\r\n\r\n"); err != nil {
		g.T.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return &Reply{answer.StatusCode, answer.Header, body}
}

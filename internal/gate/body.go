package gate

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// maxBody bounds the body of every request to the gateway's own API, in bytes.
const maxBody = 64 << 10

// readBody reads the JSON object of a state-changing request, after making sure that it comes from this origin's own
// pages. members are the names that the object may have; anything else in it is ignored.
func (g *Gate) readBody(x *exchange, members ...string) (*strictjson.Reader, error) {
	r := x.r
	if !sameOrigin(r, x.origin.text) {
		return nil, passkey.CrossSite
	}
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	if err != nil || mediaType != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") ||
		r.Header.Get("Content-Encoding") != "" {
		return nil, passkey.MediaType
	}
	// A client that sends a byte now and then must not hold the request open. Where the connection knows no deadlines
	// (a test's recorder), the server's own limits stand.
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(g.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(x.w, r.Body, maxBody))
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, passkey.BodyTooLarge
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, passkey.BodyTimeout
		}
		return nil, passkey.BodyMalformed
	}
	_ = control.SetReadDeadline(time.Time{})
	object, err := strictjson.Parse(body)
	if err != nil {
		return nil, err
	}
	reader := strictjson.Read(object, members...)
	return reader, reader.Err()
}

// sameOrigin reports whether a request was made by a page of this origin. Browsers say so in Sec-Fetch-Site, which a
// page can't set, or else in Origin; a client that says neither is no browser of a person (docs/http.md).
func sameOrigin(r *http.Request, origin string) bool {
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) > 0 {
		return len(site) == 1 && site[0] == "same-origin" && originIsOr(r, origin)
	}
	from := r.Header.Values("Origin")
	return len(from) == 1 && from[0] == origin
}

// originIsOr reports whether the Origin header, where there is one, names this origin.
func originIsOr(r *http.Request, origin string) bool {
	from := r.Header.Values("Origin")
	return len(from) == 0 || len(from) == 1 && from[0] == origin
}

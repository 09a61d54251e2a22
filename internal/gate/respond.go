package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// event starts an audit event about this request.
func (x *exchange) event(kind audit.Kind) audit.Event {
	return audit.Event{
		Kind: kind, User: x.user, Client: x.in.client(), Host: x.r.Host, Method: x.r.Method, Path: x.in.Original.Path,
		Rule: x.rule.Name, RequestID: x.in.id(),
	}
}

// refuse records why a request is refused and answers it: a readable page for a navigation, a problem for all else.
func (g *Gate) refuse(x *exchange, refusal passkey.Refusal) {
	event := x.event(audit.RequestRefused)
	event.Reason = refusal
	g.record(event)
	g.answer(x, refusal)
}

// fail refuses a request because the gateway could not find out what it must know. The error goes to the log alone.
func (g *Gate) fail(x *exchange, doing string, err error) {
	g.cfg.Logger.Error(doing, zap.Error(err), zap.String("request_id", x.in.id()))
	g.refuse(x, passkey.StoreUnavailable)
}

// refuseCeremony records why a ceremony failed and answers with the same reason.
func (g *Gate) refuseCeremony(x *exchange, action passkey.Action, err error) {
	refusal := refusalOf(err)
	kind := audit.CeremonyRefused
	switch refusal {
	case passkey.CounterRegressed:
		kind = audit.CloneSuspected
	case passkey.StoreUnavailable, passkey.Internal:
		g.cfg.Logger.Error("running ceremony", zap.Error(err), zap.String("request_id", x.in.id()))
	}
	event := x.event(kind)
	event.Reason, event.Action = refusal, action
	if failed := new(ceremony.Failed); errors.As(err, &failed) {
		event.Passkey = failed.Passkey
	}
	g.record(event)
	g.answer(x, refusal)
}

// answer writes a refusal without recording it.
func (g *Gate) answer(x *exchange, refusal passkey.Refusal) {
	x.refused = refusal
	a := answerFor(refusal)
	line := ""
	if refusal == passkey.OriginUnknown {
		line = OriginLine(g.cfg.RPID, g.cfg.Origins, x.r.Host)
	}
	header := x.w.Header()
	switch a.status {
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "5")
	case http.StatusTooManyRequests:
		wait := max(seconds(x.wait), 1)
		header.Set("Retry-After", strconv.FormatInt(wait, 10))
		a.hint = "Try again in " + count(wait, "second") + "."
	case http.StatusUnauthorized: // RFC 9110 §15.5.2 wants a challenge in every 401
		header.Set("WWW-Authenticate", "Bearer")
	}
	if isNavigation(x.r) {
		page := assets.Message{Common: g.common(x), Code: string(refusal), Title: a.title, Text: a.text, Hint: a.hint, Line: line}
		if deadEnds[refusal] {
			page.Action, page.Href = "Go to the start page", "/"
		}
		g.writePage(x, a.status, page)
		return
	}
	if line != "" {
		a.hint += " `" + line + "`"
	}
	g.writeProblem(x, a.status, problem{Title: a.title, Detail: a.text + " " + a.hint, Code: refusal})
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

// requireStepUp answers a request to a protected route whose grant does not do. A navigation goes to the challenge page;
// what a person sent from a form gets a page that leads there; everything else gets a problem (RFC 9470), never a
// redirect, which a script would follow into HTML.
func (g *Gate) requireStepUp(x *exchange, b *Backend, reason passkey.Refusal) {
	x.lacking, x.refused = true, reason
	event := x.event(audit.StepUpRequired)
	event.Reason, event.Level = reason, x.rule.Demand.Level.String()
	g.record(event)

	if reason == passkey.GrantOtherUser { // somebody else sat here before
		http.SetCookie(x.w, g.cookie(x, cookieNames(x.origin.secure).grant, "", -1))
	}
	sealed := g.demandFor(x, reason).seal(b.Demands)
	page := g.cfg.Path + "/challenge?demand=" + url.QueryEscape(sealed)
	a := answerFor(passkey.StepUpRequired)
	switch {
	case isNavigation(x.r) && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead):
		setPrivate(x.w.Header())
		x.w.Header().Set("Location", page)
		x.w.WriteHeader(http.StatusSeeOther)
	case isNavigation(x.r):
		x.w.Header().Set("WWW-Authenticate", insufficient(x.rule.Demand))
		g.writePage(x, a.status, assets.Message{
			Common: g.common(x), Code: string(passkey.StepUpRequired), Title: a.title,
			Text:   "What you sent was not carried out: it needs a recent confirmation with your passkey.",
			Hint:   "Confirm first. You then come back to the page you were on, and can send it again.",
			Action: "Confirm with your passkey", Href: page,
		})
	default:
		x.w.Header().Set("WWW-Authenticate", insufficient(x.rule.Demand))
		g.writeProblem(x, a.status, problem{
			Title: a.title, Detail: a.text, Code: passkey.StepUpRequired, Reason: reason,
			StepUpURL: x.origin.text + page, Level: x.rule.Demand.Level.String(), MaxAge: seconds(x.rule.Demand.MaxAge),
		})
	}
}

// insufficient is the challenge of RFC 9470 §3.
func insufficient(d policy.Demand) string {
	return fmt.Sprintf(`Bearer error="insufficient_user_authentication", error_description="A more recent or stronger passkey confirmation is required", max_age="%d"`, seconds(d.MaxAge))
}

// seconds rounds a duration up: a client that trusts it must not come too late.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// problem is an RFC 9457 problem. Code is stable and one of the documented list.
type problem struct {
	Title     string          `json:"title"`
	Status    int             `json:"status"`
	Detail    string          `json:"detail"`
	Code      passkey.Refusal `json:"code"`
	Reason    passkey.Refusal `json:"reason,omitempty"`      // for step_up_required: what was wrong with the grant
	StepUpURL string          `json:"step_up_url,omitempty"` // where a person can step up
	Level     string          `json:"level,omitempty"`
	MaxAge    int64           `json:"max_age,omitempty"` // seconds
	RequestID string          `json:"request_id,omitempty"`
}

func (g *Gate) writeProblem(x *exchange, status int, p problem) {
	p.Status, p.RequestID = status, x.in.id()
	g.write(x, status, "application/problem+json", p)
}

func (g *Gate) writeJSON(x *exchange, status int, value any) {
	g.write(x, status, "application/json", value)
}

func (g *Gate) write(x *exchange, status int, contentType string, value any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(true)
	if err := encoder.Encode(value); err != nil {
		g.cfg.Logger.Error("encoding answer", zap.Error(err))
		x.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	g.send(x, status, contentType, body.Bytes())
}

// page is one of the pages of package assets.
type page interface{ Render(w io.Writer) error }

func (g *Gate) writePage(x *exchange, status int, p page) {
	var body bytes.Buffer
	if err := p.Render(&body); err != nil {
		g.cfg.Logger.Error("rendering page", zap.Error(err))
		setPrivate(x.w.Header())
		x.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	g.send(x, status, "text/html; charset=utf-8", body.Bytes())
}

func (g *Gate) send(x *exchange, status int, contentType string, body []byte) {
	header := x.w.Header()
	setPrivate(header)
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return
	}
	if _, err := x.w.Write(body); err != nil && !errors.Is(err, http.ErrHandlerTimeout) {
		g.cfg.Logger.Debug("writing answer", zap.Error(err))
	}
}

// setPrivate sets what every answer of the gate's own carries: for this client only, never framed, sniffed or scripted
// from elsewhere.
func setPrivate(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", assets.ContentSecurityPolicy)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)")
}

func (g *Gate) common(x *exchange) assets.Common {
	c := assets.Common{Prefix: g.cfg.Path, RPName: g.cfg.RPName, User: x.user}
	if from := g.begins(); !from.IsZero() {
		const day = 24 * time.Hour
		c.EnforceFrom, c.DaysLeft = from.UTC(), int((from.Sub(g.cfg.Now())+day-1)/day)
	}
	return c
}

// begins returns when the first rule that is not enforced yet will be; zero when none is to come.
func (g *Gate) begins() (first time.Time) {
	now := g.cfg.Now()
	consider := func(r policy.Rule) {
		if !r.Open && r.Mode == policy.Enforce && r.From.After(now) && (first.IsZero() || r.From.Before(first)) {
			first = r.From
		}
	}
	consider(g.cfg.Default)
	for i := range g.cfg.Rules {
		consider(g.cfg.Rules[i].Rule)
	}
	return first
}

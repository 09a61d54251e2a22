package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/stepgate/stepgate/internal/passkey"
)

// ErrTables is in every error that says that the tables can't be used as they are, and that waiting won't change it: one
// is missing, has other keys, or is being deleted. Other errors say why that could not be found out.
var ErrTables = errors.New("the tables can't be used as they are")

// problem is an error in words for whoever runs the gateway, one line. What it wraps is for the code.
type problem struct {
	kind string // the same for the same trouble, however its words differ from one time to the next
	text string
	cure string // what to do, in words that several problems may share; may be empty
	err  error
}

func (p *problem) Error() string { return p.text + p.cure }
func (p *problem) Unwrap() error { return p.err }

// definite is a problem that wraps ErrTables.
func definite(kind, format string, arguments ...any) *problem {
	return &problem{kind: kind, text: fmt.Sprintf(format, arguments...), err: ErrTables}
}

// passingProblem is one that may end by itself.
func passingProblem(kind, format string, arguments ...any) *problem {
	return &problem{kind: kind, text: fmt.Sprintf(format, arguments...), err: passkey.StoreUnavailable}
}

// problems are those of several tables.
type problems []error

// err is all that is definite; if nothing is, all of them.
func (p problems) err() error {
	if slices.ContainsFunc(p, isDefinite) {
		p = slices.DeleteFunc(p, func(err error) bool { return !isDefinite(err) })
	}
	var texts, kinds []string
	for i, err := range p {
		kind, text := kindOf(err), err.Error()
		if slices.Contains(wholesale, kind) && slices.Contains(kinds, kind) {
			continue
		}
		if cure := cureOf(err); i+1 < len(p) && cure == cureOf(p[i+1]) {
			text = strings.TrimSuffix(text, cure) // the next one says it
		}
		texts, kinds = append(texts, text), append(kinds, kind)
	}
	if len(p) == 0 {
		return nil
	}
	return &problem{kind: strings.Join(kinds, ","), text: strings.Join(texts, "; "), err: errors.Join(p...)}
}

func cureOf(err error) string {
	if p, ok := err.(*problem); ok {
		return p.cure
	}
	return ""
}

func isDefinite(err error) bool { return errors.Is(err, ErrTables) }

// kindOf names the trouble; "" is none.
func kindOf(err error) string {
	var p *problem
	switch {
	case err == nil:
		return ""
	case errors.As(err, &p):
		return p.kind
	}
	return "other"
}

// Kinds of failed calls that the code tells apart.
const (
	kindDenied      = "denied"
	kindUnsupported = "unsupported"
	kindMissing     = "missing"
	kindThrottled   = "throttled"
	kindSilent      = "silent"
	kindUnreachable = "unreachable"
	kindUnreadable  = "unreadable"
	kindHost        = "host"
	kindCredentials = "credentials"
)

// wholesale are the kinds that are about no table: for two tables they are said once.
var wholesale = []string{kindThrottled, kindSilent, kindUnreachable, kindUnreadable, kindHost, kindCredentials}

// Codes by which AWS refuses credentials altogether.
var badCredentials = []string{
	"UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature",
	"IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "ExpiredTokenException", "ExpiredToken",
}

// explain says in one line why a call of an operation on a table failed and what to do about it. nil stays nil.
func (db *DB) explain(operation, table string, err error) error {
	var (
		api    smithy.APIError
		dns    *net.DNSError
		sent   *url.Error
		status *smithyhttp.ResponseError
	)
	tell := func(kind, format string, arguments ...any) error {
		return &problem{kind: kind, text: fmt.Sprintf(format, arguments...), err: errors.Join(passkey.StoreUnavailable, err)}
	}
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &api):
		switch code := api.ErrorCode(); {
		case code == "AccessDeniedException" || code == "AccessDenied":
			return tell(kindDenied, "access denied: these credentials may not call dynamodb:%s on the table %q in %s", operation, table, db.place())
		case slices.Contains(badCredentials, code):
			return tell(kindCredentials, "DynamoDB in %s does not accept these credentials: %s", db.place(), briefly(api))
		case code == "UnknownOperationException" || code == "UnknownOperation":
			return tell(kindUnsupported, "DynamoDB in %s does not know the operation %s", db.place(), operation)
		case code == "ResourceNotFoundException" || code == "TableNotFoundException":
			return tell(kindMissing, "there is no table %q in %s", table, db.place())
		case throttled(code):
			return tell(kindThrottled, "DynamoDB in %s throttles %s: %s", db.place(), operation, briefly(api))
		default:
			return tell(code, "DynamoDB in %s answered %s of the table %q with an error: %s", db.place(), operation, table, briefly(api))
		}
	case errors.As(err, &dns) && dns.IsNotFound:
		what := "region"
		if db.endpoint != "" {
			what = "endpoint"
		}
		return tell(kindHost, "there is no host %q: is the %s right, and does this machine's DNS work?", dns.Name, what)
	case errors.Is(err, context.DeadlineExceeded):
		return tell(kindSilent, "DynamoDB in %s did not answer in time: is there a way to it from here (a route, a VPC endpoint, a proxy)?", db.place())
	case errors.As(err, &sent):
		return tell(kindUnreachable, "DynamoDB in %s can't be reached: %v", db.place(), sent.Err)
	case errors.As(err, &status) && status.HTTPStatusCode() != 0:
		return tell(kindUnreadable, "what answers as DynamoDB in %s is not DynamoDB, or is ill: HTTP status %d", db.place(), status.HTTPStatusCode())
	}
	return tell("other", "calling DynamoDB in %s: %v", db.place(), err)
}

func throttled(code string) bool {
	_, found := retry.DefaultThrottleErrorCodes[code]
	return found
}

// briefly is an API error without what AWS adds in further lines: of a bad signature, the headers that were signed.
func briefly(err smithy.APIError) string {
	message, _, _ := strings.Cut(err.ErrorMessage(), "\n")
	code, message := printable(err.ErrorCode()), printable(message)
	if message == "" {
		return code
	}
	return fmt.Sprintf("%s (%.300s)", code, message)
}

// printable is a server's text without what could play with an operator's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// shellWord is a text as one word of a shell's command, for commands that people copy.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// credentials tells why there are none. Without it every call would fail with what the last place that the SDK looked at
// said.
func (db *DB) credentials(ctx context.Context) error {
	provider := db.client.Options().Credentials
	if provider == nil {
		return nil
	}
	if _, err := provider.Retrieve(ctx); err != nil {
		return &problem{kind: kindCredentials, text: "no AWS credentials: the SDK looked in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), " +
			"in ~/.aws, and for a role of this container or machine: " + strings.ReplaceAll(err.Error(), "\n", " "),
			err: errors.Join(passkey.StoreUnavailable, err)}
	}
	return nil
}

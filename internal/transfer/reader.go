package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// MaxLine bounds a line, in bytes: what a [Reader] holds in memory at once.
const MaxLine = 1 << 20

// ErrCutShort says that an export ends without its closing line, or within a line.
var ErrCutShort = errors.New("the export was cut short: it has no closing line")

// LineError is what is wrong with one line of an export. It quotes nothing of the line but the name of a member.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }

// Reader reads an export from its first line to its last.
type Reader struct {
	in     *bufio.Reader
	line   int
	offset int64
	counts Counts
	seen   map[digest]struct{} // users
	err    error               // sticks
}

// digest stands for a name or an id where many are kept.
type digest [16]byte

func digestOf[T string | []byte](value T) digest {
	sum := sha256.Sum256([]byte(value))
	return digest(sum[:])
}

// NewReader reads the header. It refuses what is no export, one of a format that this Stepgate does not know, and one of
// another relying party than rpID: its passkeys would be useless here. An error wraps [ErrCutShort] or is a [*LineError].
func NewReader(in io.Reader, rpID string) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 1<<16), seen: map[digest]struct{}{}}
	text, err := r.next()
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte(headerStart)) {
		return nil, r.fail(errors.New("this is no export of Stepgate's"))
	}
	o, err := parse(text)
	if err != nil {
		return nil, r.fail(err)
	}
	var format int
	if json.Unmarshal(o["stepgate_export"], &format) != nil || format != formatVersion {
		return nil, r.fail(fmt.Errorf("this export is in another format; this Stepgate knows version %d only", formatVersion))
	}
	header, err := decodeFlat[headerLine](text, o, headerMembers)
	if err != nil {
		return nil, r.fail(err)
	}
	if header.RPID != rpID {
		return nil, r.fail(fmt.Errorf("the passkeys belong to the rp_id %.256q and are useless at %q, which is configured", header.RPID, rpID))
	}
	return r, nil
}

// Next returns the next user; [io.EOF] behind the closing line, when that counts what was read and nothing follows it.
// Any other error wraps [ErrCutShort], is a [*LineError], or is that of reading; it comes again at each further call.
func (r *Reader) Next() (passkey.Account, error) {
	if r.err != nil {
		return passkey.Account{}, r.err
	}
	account, err := r.user()
	r.err = err
	return account, err
}

// Line returns the number of the line that was read last.
func (r *Reader) Line() int { return r.line }

// Offset returns where the line that was read last ends, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

// Counts returns how many users and passkeys were read.
func (r *Reader) Counts() Counts { return r.counts }

func (r *Reader) user() (passkey.Account, error) {
	text, err := r.next()
	if err != nil {
		return passkey.Account{}, err
	}
	o, err := parse(text)
	if err != nil {
		return passkey.Account{}, r.fail(err)
	}
	if _, closing := o["users"]; closing {
		return passkey.Account{}, r.close(text, o)
	}
	account, err := decodeUser(text, o)
	if err != nil {
		return passkey.Account{}, r.fail(err)
	}
	name := digestOf(account.User.Name)
	if _, repeated := r.seen[name]; repeated {
		return passkey.Account{}, r.fail(errors.New("another line is about the same user"))
	}
	r.seen[name] = struct{}{}
	r.counts.add(account)
	return account, nil
}

// close reads the closing line and returns io.EOF when everything is there.
func (r *Reader) close(text []byte, o strictjson.Object) error {
	closing, err := decodeFlat[closingLine](text, o, closingMembers)
	if err != nil {
		return r.fail(err)
	}
	if want := Counts(closing); want != r.counts {
		return r.fail(fmt.Errorf("lines are missing or were added: the export had %s, and here are %s", want, r.counts))
	}
	if _, err := r.in.ReadByte(); err == nil {
		return r.fail(errors.New("something follows the closing line"))
	} else if err != io.EOF {
		return fmt.Errorf("reading the export: %w", err)
	}
	return io.EOF
}

// next returns the next whole line without its end. The text is good until the next call.
func (r *Reader) next() ([]byte, error) {
	var text []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if text == nil && err == nil {
			text = part
		} else {
			text = append(text, part...) // copies: ReadSlice reuses its buffer
		}
		switch {
		case len(text) > MaxLine:
			r.line++
			return nil, r.fail(fmt.Errorf("it is longer than %d bytes", MaxLine))
		case err == nil:
			r.line++
			r.offset += int64(len(text))
			return text[:len(text)-1], nil
		case err == io.EOF:
			return nil, ErrCutShort
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("reading the export: %w", err)
		}
	}
}

func (r *Reader) fail(err error) error { return &LineError{r.line, err} }

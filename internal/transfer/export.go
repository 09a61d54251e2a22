package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// ErrComplete says that there is nothing to go on with: the file holds a whole export.
var ErrComplete = errors.New("it is complete already; remove it or name another")

// position is how far an export has got.
type position struct {
	begun  bool   // the header is written
	after  string // the last user that is written
	done   Counts
	offset int64 // where the last whole line ends
}

// Export writes every user of a store, for the relying party it is of. When it fails, the lines that it has written are
// whole but for the last one at most, and without a closing line they can't be taken for an export of everybody.
func Export(ctx context.Context, store Store, rpID string, out io.Writer, opts Options) (Counts, error) {
	return export(ctx, store, rpID, position{}, out, opts)
}

// ExportFile writes an export to a file, which it makes with mode 0600. A file that is there already must be one that
// an ExportFile of this relying party left unfinished: a partial last line is cut off, and it goes on behind the last
// whole one. Any other file is left as it is; a finished one is [ErrComplete]. The counts are of the whole file.
func ExportFile(ctx context.Context, store Store, rpID, path string, opts Options) (counts Counts, err error) {
	file, at, err := openOutput(path, rpID)
	if err != nil {
		return Counts{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if counts, err = export(ctx, store, rpID, at, file, opts); err != nil {
		return counts, err
	}
	if err := file.Sync(); err != nil {
		return counts, fmt.Errorf("making the export durable: %w", err)
	}
	return counts, nil
}

func openOutput(path, rpID string) (*os.File, position, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the administrator names the file
	if err == nil {
		return file, position{}, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, position{}, fmt.Errorf("making the export: %w", err)
	}
	info, err := os.Lstat(path) // opening a pipe would block
	if err == nil {
		err = checkOurs(info)
	}
	if err == nil {
		file, err = os.OpenFile(path, os.O_RDWR, 0) // #nosec G304 -- the administrator names the file
	}
	if err != nil {
		return nil, position{}, fmt.Errorf("going on with %s: %w", path, err)
	}
	// Once more, of the file that is open: what the path names may have changed.
	var at position
	if opened, statErr := file.Stat(); statErr != nil || !os.SameFile(info, opened) {
		err = errors.Join(errors.New("it changed while it was opened"), statErr)
	} else {
		at, err = find(file, rpID)
	}
	if err == nil {
		err = file.Truncate(at.offset)
	}
	if err == nil {
		_, err = file.Seek(at.offset, io.SeekStart)
	}
	if err != nil {
		return nil, position{}, fmt.Errorf("going on with %s: %w", path, errors.Join(err, file.Close()))
	}
	return file, at, nil
}

// checkOurs refuses to go on with a file that an export of this user did not make: somebody else could have put it there to
// read what is added, or with a passkey of theirs in somebody's account.
func checkOurs(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return errors.New("it is no regular file")
	case mode.Perm()&0o077 != 0 && runtime.GOOS != "windows": // Windows has no such bits and Go makes them up
		return fmt.Errorf("its mode %#o lets others use it; remove it or name another", mode.Perm())
	case !ownedByUs(info):
		return errors.New("it belongs to somebody else; remove it or name another")
	}
	return nil
}

// find reads an unfinished export to its last whole line. It refuses any file whose first bytes are not an export's: of
// a file named by mistake nothing may be cut off.
func find(file *os.File, rpID string) (position, error) {
	start := make([]byte, len(headerStart))
	n, err := io.ReadFull(file, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return position{}, err
	}
	if !strings.HasPrefix(headerStart, string(start[:n])) {
		return position{}, errors.New("it is no export of Stepgate's; name another file")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return position{}, err
	}
	reader, err := NewReader(file, rpID)
	if errors.Is(err, ErrCutShort) {
		return position{}, nil // within the header
	} else if err != nil {
		return position{}, err
	}
	at := position{begun: true}
	for {
		account, err := reader.Next()
		switch {
		case err == io.EOF:
			return position{}, ErrComplete
		case errors.Is(err, ErrCutShort):
			at.done, at.offset = reader.Counts(), reader.Offset()
			return at, nil
		case err != nil:
			return position{}, fmt.Errorf("it can't be gone on with, remove it or name another: %w", err)
		}
		at.after = account.User.Name
	}
}

func export(ctx context.Context, store Store, rpID string, at position, out io.Writer, opts Options) (Counts, error) {
	opts = opts.withDefaults()
	lines := bufio.NewWriterSize(out, 1<<16)
	err := exportLines(ctx, store, rpID, &at, lines, opts)
	// Also after an error: what was read need not be read again.
	if flushErr := lines.Flush(); flushErr != nil && err == nil {
		err = fmt.Errorf("writing the export: %w", flushErr)
	}
	return at.done, err
}

func exportLines(ctx context.Context, store Store, rpID string, at *position, out io.Writer, opts Options) error {
	if !at.begun {
		at.begun = true
		if err := write(out, headerLine{formatVersion, rpID, instant{opts.Now().UTC().Truncate(time.Second)}}); err != nil {
			return err
		}
	}
	err := walk(ctx, store, at.after, opts, func(account passkey.Account) error {
		line, err := encodeUser(account)
		if err != nil {
			return fmt.Errorf("user %q can't be exported: %w", account.User.Name, err)
		}
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		at.after = account.User.Name
		at.done.add(account)
		opts.Progress(at.done)
		return nil
	})
	if err != nil {
		return err
	}
	return write(out, closingLine{at.done.Users, at.done.Passkeys})
}

func write(out io.Writer, line any) error {
	text, err := encode(line)
	if err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

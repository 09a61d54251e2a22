package passkey_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
)

// FuzzName: a name that is taken is taken as it stands, shows nothing but what it holds, and folds as one that differs in
// case alone.
func FuzzName(f *testing.F) {
	for _, name := range []string{
		"Key", "  Key ", "Ключ \U0001f511", "\U0001f469\u200d\U0001f4bb", "<b>", "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u00a0b", "\xff", "a\u2028b", "\u200d", "\ufe0f", "\u0345", "ß", "ẞ", "ſ", "\u0130", "\u0131",
		"\u212a", strings.Repeat("a", 65), strings.Repeat("\u0390", 64), "\u2800", "\u3164", "\u00ad", "\U000e0041", "\u180e",
	} {
		f.Add(name, strings.ToUpper(name))
	}
	f.Fuzz(func(t *testing.T, name, other string) {
		taken, err := passkey.CheckName(name)
		if err != nil {
			if !errors.Is(err, passkey.NameInvalid) || taken != "" {
				t.Fatalf("%q: %q, %v", name, taken, err)
			}
			return
		}
		if again, err := passkey.CheckName(taken); err != nil || again != taken || strings.TrimSpace(name) != taken {
			t.Fatalf("%q is taken as %q, and that as %q (%v)", name, taken, again, err)
		}
		if !utf8.ValidString(taken) || utf8.RuneCountInString(taken) > passkey.MaxNameLength || strings.ContainsFunc(taken, func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r)
		}) {
			t.Fatalf("%q is taken", taken)
		}
		folded := passkey.FoldName(taken)
		if again := passkey.FoldName(folded); again != folded {
			t.Fatalf("%q folds to %q, and that to %q", taken, folded, again)
		}
		if strings.EqualFold(taken, other) && passkey.FoldName(other) != folded {
			t.Fatalf("%q and %q differ in case alone, and fold to %q and %q", taken, other, folded, passkey.FoldName(other))
		}
	})
}

// Wherever encoding/json or a person takes two names for one, FoldName does: no letter is left out.
func TestFoldNameFoldsEveryLetter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if one, other := passkey.FoldName(string(r)), passkey.FoldName(string(unicode.SimpleFold(r))); one != other {
			t.Errorf("%U folds to %q, %U to %q", r, one, unicode.SimpleFold(r), other)
		}
	}
}

// FuzzCode: a code is its letters, however they are grouped, and whether they are upper case; and the store's two ways to
// name it agree.
func FuzzCode(f *testing.F) {
	for _, code := range []string{"ABCD-EFGH", "abcd efgh", "", "-", " ", "\u0131", "\u017f", "\xff", "ABCD\u00a0EFGH", "AB\x00CD", strings.Repeat("A", 1000)} {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code string) {
		id := passkey.CodeID(code)
		if raw, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(raw) != 32 {
			t.Fatalf("%q has the id %q", code, id)
		}
		if !utf8.ValidString(code) {
			return
		}
		letters := strings.Join(strings.FieldsFunc(strings.ToUpper(code), func(r rune) bool { return r == '-' || unicode.IsSpace(r) }), "")
		for _, spelling := range []string{letters, strings.Join(strings.Split(letters, ""), "-"), " " + code + "\t"} {
			if passkey.CodeID(spelling) != id {
				t.Fatalf("%q and %q are two codes", code, spelling)
			}
		}
		if digest := passkey.CodeDigest(code); letters != "" && base64.RawURLEncoding.EncodeToString(digest[:]) != id {
			t.Fatalf("%q has the id %s and the digest %x", code, id, digest)
		}
		stored := passkey.Recovery{Codes: []passkey.Digest{passkey.CodeDigest("AAAA-BBBB")}}
		if good := stored.Check(id) == nil; good != (letters == "AAAABBBB") {
			t.Fatalf("%q is taken for AAAA-BBBB: %v", code, good)
		}
	})
}

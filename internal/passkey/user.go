package passkey

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxUserLength bounds a user's name, in bytes.
const MaxUserLength = 512

// MaxNameLength bounds a passkey's name, in characters.
const MaxNameLength = 64

// HandleLength is the length of a WebAuthn user handle in bytes: the maximum that WebAuthn L3 §5.4.3 allows.
const HandleLength = 64

// Epoch is random and replaced whenever all of a user's grants must end; a grant names the epoch it was made in.
type Epoch [16]byte

// User is the record that every limit and race about one user is decided on. It outlives the user's passkeys: once it
// exists, nobody registers a first passkey on the first factor alone (docs/rules.md, rule 10).
type User struct {
	Name     string
	Version  uint64 // 0 when there is no record; each change adds one
	Handle   []byte // WebAuthn user handle, 64 random bytes
	Epoch    Epoch
	Passkeys []Ref
	Recovery Recovery
}

// Ref is a passkey as the user record lists it: enough to decide limits and unique names without reading the passkeys.
type Ref struct {
	ID     []byte // credential id
	Folded string // [FoldName] of the passkey's name
}

// Account is a user with their passkeys, oldest first. A user without a record has Version 0 and no passkeys.
type Account struct {
	User       User
	Passkeys   []Passkey
	Invitation Invitation // of a user without a record too
}

// AccountOf makes an account of a user record and passkey records, oldest first. They must agree: a passkey without a line
// in the user's list would escape every limit, and one without a record, or of another name, could not be told apart.
func AccountOf(user User, passkeys []Passkey) (account Account, agree bool) {
	place := make(map[string]int, len(user.Passkeys))
	for i, ref := range user.Passkeys {
		place[string(ref.ID)] = i
	}
	found := make(map[string]bool, len(passkeys))
	for _, p := range passkeys {
		if i, listed := place[string(p.ID)]; !listed || user.Passkeys[i].Folded != FoldName(p.Name) {
			return Account{}, false
		}
		found[string(p.ID)] = true
	}
	if len(found) != len(passkeys) || len(found) != len(user.Passkeys) {
		return Account{}, false
	}
	slices.SortFunc(passkeys, func(a, b Passkey) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return place[string(a.ID)] - place[string(b.ID)]
	})
	return Account{User: user, Passkeys: passkeys}, true
}

// Passkey returns the account's passkey with this credential id.
func (a Account) Passkey(credentialID []byte) (Passkey, bool) {
	for _, p := range a.Passkeys {
		if bytes.Equal(p.ID, credentialID) {
			return p, true
		}
	}
	return Passkey{}, false
}

// PasskeyByShortID returns the account's passkey with this [Passkey.ShortID].
func (a Account) PasskeyByShortID(short string) (Passkey, bool) {
	for _, p := range a.Passkeys {
		if p.ShortID() == short {
			return p, true
		}
	}
	return Passkey{}, false
}

// Reach returns the highest level that any of the account's passkeys reaches; zero without passkeys.
func (a Account) Reach() Level {
	var highest Level
	for _, p := range a.Passkeys {
		highest = max(highest, p.Reach())
	}
	return highest
}

// Adding returns the user as they are once p is registered. It refuses a credential id that is among theirs
// ([PasskeyExists]) and a name that another passkey of theirs has ([NameTaken]).
func (u User) Adding(p Passkey) (User, error) {
	if slices.ContainsFunc(u.Passkeys, func(r Ref) bool { return bytes.Equal(r.ID, p.ID) }) {
		return User{}, PasskeyExists
	}
	folded := FoldName(p.Name)
	if u.hasName(folded, nil) {
		return User{}, NameTaken
	}
	next := u.next()
	next.Passkeys = append(next.Passkeys, Ref{ID: p.ID, Folded: folded})
	return next, nil
}

// Renaming returns the user as they are once the passkey has its new name.
func (u User) Renaming(credentialID []byte, name string) (User, error) {
	folded := FoldName(name)
	if u.hasName(folded, credentialID) {
		return User{}, NameTaken
	}
	next := u.next()
	for i := range next.Passkeys {
		if bytes.Equal(next.Passkeys[i].ID, credentialID) {
			next.Passkeys[i].Folded = folded
			return next, nil
		}
	}
	return User{}, PasskeyUnknown
}

// Removing returns the user as they are once the passkey is gone. Grants made with it end because it is no longer
// listed; those made with other passkeys live on.
func (u User) Removing(credentialID []byte) (User, error) {
	next := u.next()
	before := len(next.Passkeys)
	next.Passkeys = slices.DeleteFunc(next.Passkeys, func(r Ref) bool { return bytes.Equal(r.ID, credentialID) })
	if len(next.Passkeys) == before {
		return User{}, PasskeyUnknown
	}
	return next, nil
}

// InEpoch returns the user in a new epoch: all of their grants have ended.
func (u User) InEpoch(e Epoch) User {
	next := u.next()
	next.Epoch = e
	return next
}

// Named tells what the list says of a passkey: whether it is there, and whether under this name.
func (u User) Named(credentialID []byte, name string) (listed, named bool) {
	for _, r := range u.Passkeys {
		if bytes.Equal(r.ID, credentialID) {
			return true, r.Folded == FoldName(name)
		}
	}
	return false, false
}

func (u User) next() User {
	u.Version++
	u.Passkeys = slices.Clone(u.Passkeys)
	u.Recovery.Codes = slices.Clone(u.Recovery.Codes)
	return u
}

func (u User) hasName(folded string, except []byte) bool {
	return slices.ContainsFunc(u.Passkeys, func(r Ref) bool {
		return r.Folded == folded && !bytes.Equal(r.ID, except)
	})
}

// CheckUser tells whether a user's name, as the first factor handed it over, can be used: [UserMissing] when it is
// empty or blank, [UserInvalid] when it is longer than [MaxUserLength], not UTF-8, or holds control characters.
func CheckUser(name string) error {
	if isOrdinary(name) {
		return nil
	}
	if strings.TrimSpace(name) == "" {
		return UserMissing
	}
	if len(name) > MaxUserLength || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return UserInvalid
	}
	return nil
}

// isOrdinary reports whether a name is short and of visible ASCII characters, as most are: CheckUser then need not look at
// it three times.
func isOrdinary(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return name != "" && len(name) <= MaxUserLength
}

// CheckName returns a passkey's name with the space around it removed, or [NameInvalid] when it is empty, longer than
// [MaxNameLength] characters, not UTF-8, or holds characters that are invisible or reorder text (which could make one
// name look like another).
func CheckName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxNameLength {
		return "", NameInvalid
	}
	for _, r := range name {
		if r != ' ' && r != '\u200d' && r != '\ufe0f' && !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' ' {
			return "", NameInvalid
		}
	}
	return name, nil
}

// FoldName returns the form in which two names of one user's passkeys are compared: without regard to case.
func FoldName(name string) string {
	return strings.ToLower(strings.ToUpper(name))
}

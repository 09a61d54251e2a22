package matrixtest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
)

// outcome is what may become of a step whose call is struck.
type outcome int

const (
	none   outcome = iota // not tried
	either                // done as if nothing were, or refused
	fails                 // refused
	passes                // done as if nothing were
)

// fault is one way in which a call goes wrong.
type fault struct {
	name   string
	of     func(c observed) (faulttest.Fault, bool) // for this call; false: it can't happen to it
	once   outcome                                  // one attempt is struck
	always outcome                                  // every attempt is, as long as the step lasts
	codes  []passkey.Refusal                        // why a step may be refused, beside that the store is unavailable
	lost   bool                                     // the call is made, and its answer lost: of a read that lasts it is the same as before
}

// observed is a call that a flow was seen to make.
type observed struct {
	step      int
	operation string
	nth       int // among the step's calls of this operation, from 0
	rows      []faulttest.Row
}

func (o observed) reads() bool { return len(o.rows) > 0 && o.operation != "TransactWriteItems" }

func (o observed) writes() bool {
	return slices.Contains([]string{"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}, o.operation)
}

// kind makes a fault that can happen to any call.
func kind(k faulttest.Kind, once, always outcome, codes ...passkey.Refusal) fault {
	of := func(observed) (faulttest.Fault, bool) { return faulttest.Fault{Kind: k}, true }
	return fault{name: k.String(), of: of, once: once, always: always, codes: codes, lost: strings.HasSuffix(k.String(), "After")}
}

// wrong makes a fault of answers that hold rows. Rows that can't be what was asked for are never taken for it.
func wrong(name string, edit faulttest.Edit, once, always outcome, codes ...passkey.Refusal) fault {
	of := func(o observed) (faulttest.Fault, bool) {
		return faulttest.Fault{Rewrite: faulttest.Rows(edit)}, o.reads() && !cmp.Equal(edit(o.rows), o.rows)
	}
	return fault{name: name, of: of, once: once, always: always, codes: codes}
}

// only narrows a fault to some operations.
func (f fault) only(operations ...string) fault {
	of := f.of
	f.of = func(o observed) (faulttest.Fault, bool) {
		made, ok := of(o)
		return made, ok && slices.Contains(operations, o.operation)
	}
	return f
}

// replaced makes rows of somebody or something else, consistent in themselves.
func replaced(pairs ...string) faulttest.Edit {
	replacer := strings.NewReplacer(pairs...)
	return faulttest.Each(func(row faulttest.Row) faulttest.Row {
		for name, value := range row {
			row[name] = json.RawMessage(replacer.Replace(string(value)))
		}
		return row
	})
}

// somebodyElses is the same row of another user.
var somebodyElses = replaced("#3:"+user+`"`, `#3:eve"`, `"S":"`+user+`"`, `"S":"eve"`)

// elsewhere is the same row under another sort key of its kind.
var elsewhere = faulttest.Each(func(row faulttest.Row) faulttest.Row {
	key := row.Text("sk")
	switch {
	case strings.HasPrefix(key, "passkey#"):
		key = "passkey#" + passkey.ChallengeID([]byte("another"))
	case len(key) == len(passkey.ChallengeID(nil)):
		key = passkey.ChallengeID([]byte("another"))
	case key == "": // a listing shows partitions only
		return row.With("pk", `{"S":"user#1:x#3:ada"}`)
	default: // user record and invitation
		return row.With("pk", `{"S":"user#1:x#3:ada"}`)
	}
	return row.With("sk", `{"S":"`+key+`"}`)
})

// evesPasskey is a row that is well made and nobody asked for.
var evesPasskey = faulttest.Row{
	"pk": json.RawMessage(`{"S":"user#11:example.com#3:eve"}`), "sk": json.RawMessage(`{"S":"passkey#` + passkey.ChallengeID(nil) + `"}`),
	"v": json.RawMessage(`{"N":"1"}`), "rp_id": json.RawMessage(`{"S":"example.com"}`), "user": json.RawMessage(`{"S":"eve"}`),
	"id": json.RawMessage(`{"B":"AAAAAAAAAAAAAAAAAAAAAA=="}`), "public_key": json.RawMessage(`{"B":"AAAA"}`), "sign_count": json.RawMessage(`{"N":"0"}`),
	"transports": json.RawMessage(`{"L":[]}`), "backup_eligible": json.RawMessage(`{"BOOL":false}`), "backed_up": json.RawMessage(`{"BOOL":false}`),
	"aaguid": json.RawMessage(`{"B":"AAAAAAAAAAAAAAAAAAAAAA=="}`), "name": json.RawMessage(`{"S":"Key"}`), "created_at": json.RawMessage(`{"S":"2026-11-22T12:00:00Z"}`),
}

// unknownRow is of a kind that this release does not know, in the user's partition.
var unknownRow = faulttest.Row{"pk": json.RawMessage(`{"S":"x"}`), "sk": json.RawMessage(`{"S":"preferences"}`), "v": json.RawMessage(`{"N":"9"}`)}

// nobodyThere are the reasons that a DynamoDB which shows an account without rows explains: the user was never seen. It can't be
// told from the truth by one read, so no write rests on it.
var nobodyThere = []passkey.Refusal{
	passkey.NoPasskey, passkey.PasskeyUnknown, passkey.AuthorizationNeeded, passkey.RegistrationClosed, passkey.InvitationInvalid, passkey.RecoveryCodeInvalid,
	passkey.UserUnknown, passkey.Conflict, passkey.StepUpRequired, passkey.ChallengeUsed,
}

// notWritten are the reasons that a condition explains which did not hold.
var notWritten = []passkey.Refusal{
	passkey.Conflict, passkey.PasskeyUnknown, passkey.PasskeyExists, passkey.RegistrationClosed, passkey.InvitationInvalid, passkey.ChallengeUsed,
	passkey.RecoveryCodeInvalid, passkey.CounterRegressed,
}

const noRows = "no rows"

// faults are the columns of the matrix.
var faults = []fault{
	{name: "Delay", of: func(observed) (faulttest.Fault, bool) { return faulttest.Fault{Delay: 50 * time.Millisecond}, true }, once: passes},
	kind(faulttest.Hold, none, fails),
	kind(faulttest.HoldAfter, none, fails),
	kind(faulttest.Hang, none, fails),
	kind(faulttest.HangAfter, none, fails),
	kind(faulttest.Throttle, none, fails),
	kind(faulttest.RequestLimit, either, none),
	kind(faulttest.ServerError, either, none),
	kind(faulttest.HTML503, none, fails),
	kind(faulttest.AccessDenied, either, none), // it is not tried again
	kind(faulttest.Conflict, either, fails, passkey.Conflict).only("UpdateItem", "TransactWriteItems"),
	kind(faulttest.DropBefore, either, none),
	kind(faulttest.DropAfter, either, either), // what was applied may be recognised by looking
	kind(faulttest.ResetBefore, none, fails),
	kind(faulttest.ResetAfter, either, none),
	kind(faulttest.Truncate, either, none),
	kind(faulttest.Garble, either, none),

	wrong("another user's rows", somebodyElses, none, fails).only("Query", "DeleteItem", "GetItem"),
	wrong("another relying party's rows", replaced(`.matrix.example"`, `.matrix.examplf"`, `.matrix.example#`, `.matrix.examplf#`), none, fails),
	wrong("rows from under other keys", elsewhere, none, fails),
	wrong("rows of another kind", faulttest.Instead(evesPasskey), none, fails),
	wrong("somebody else's row as well", faulttest.Also(evesPasskey), none, fails).only("Query"),
	wrong("every row twice", faulttest.Twice(), none, fails).only("Query"),
	wrong("a row of an unknown kind as well", faulttest.Also(unknownRow), none, passes).only("Query"),
	wrong(noRows, faulttest.Instead(), none, either, nobodyThere...).only("Query", "DeleteItem", "GetItem"),
	wrong("a later release's rows", faulttest.Future(), none, fails).only("Query", "DeleteItem", "GetItem"),
	{name: "more rows that are none", once: either, of: func(o observed) (faulttest.Fault, bool) {
		return faulttest.Fault{Rewrite: further}, o.reads() && (o.operation == "Query" || o.operation == "Scan")
	}},

	refusedBy(faulttest.ConditionFailed, nil),
	refusedBy(faulttest.ConditionFailed, evesPasskey),
	refusedBy(faulttest.ConditionFailedAfter, nil),
	refusedBy(faulttest.ConditionFailedAfter, evesPasskey),
}

// refusedBy makes the fault that a write is said to have been refused because of a row.
func refusedBy(k faulttest.Kind, row faulttest.Row) fault {
	name := k.String()
	if row != nil {
		name += " by somebody else's row"
	}
	of := func(o observed) (faulttest.Fault, bool) { return faulttest.Fault{Kind: k, Row: row}, o.writes() }
	return fault{name: name, of: of, once: either, codes: notWritten}
}

// further says that the answer goes on behind its last row.
func further(response []byte) []byte {
	rows := faulttest.RowsOf(response)
	if len(rows) == 0 {
		return response
	}
	last := rows[len(rows)-1]
	key := faulttest.Row{"pk": last["pk"], "sk": last["sk"]}
	if key["sk"] == nil {
		key["sk"] = json.RawMessage(`{"S":"user"}`)
	}
	var members map[string]any
	if json.Unmarshal(response, &members) != nil {
		return response
	}
	members["LastEvaluatedKey"] = key
	text, err := json.Marshal(members)
	if err != nil {
		return response
	}
	return text
}

// optional are the attributes that are left out where there is nothing to say. One that got lost can't be told from that;
// whatever is then decided is decided on what the row says.
func optional(operation, name string) bool {
	of := []string{"target", "level", "name", "handle", "origin"} // a challenge's
	if operation == "Query" {
		of = []string{
			"handle", "recovery_codes", "recovery_made_at", // a user's
			"last_used_at", "last_used_on", "last_ceremony", "attestation_format", "max_level", "trusted", "backup_unknown", // a passkey's
		}
	}
	return slices.Contains(of, name)
}

// attribute is a damaged attribute.
type attribute struct {
	name  string
	edit  faulttest.Edit
	may   outcome
	codes []passkey.Refusal
}

// attributes are all damages to single attributes of the rows that a call was answered, missing and of another type.
func (o observed) attributes() (list []attribute) {
	var names []string
	for _, row := range o.rows {
		names = append(names, row.Names()...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		missing := attribute{"without " + name, faulttest.Missing(name), fails, nil}
		if optional(o.operation, name) {
			missing.may = either
			missing.codes = []passkey.Refusal{
				passkey.CeremonyMismatch, passkey.OriginMismatch, passkey.AuthorizationNeeded, passkey.UserHandleMismatch, passkey.RecoveryCodeInvalid,
				passkey.AttestationInvalid, passkey.Conflict, passkey.InvitationInvalid, passkey.LevelUnreachable,
			}
		}
		list = append(list, missing, attribute{name + " of another type", faulttest.Retyped(name), fails, nil})
	}
	return list
}

func (o observed) String() string {
	return fmt.Sprintf("%d-%s-%d", o.step, o.operation, o.nth)
}

package faulttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Row is an item as DynamoDB's JSON spells it: attributes by name, each an object such as {"S":"text"}.
type Row map[string]json.RawMessage

// Text returns an attribute of type S; "" if it is none.
func (r Row) Text(name string) string {
	var value struct{ S string }
	if json.Unmarshal(r[name], &value) != nil {
		return ""
	}
	return value.S
}

// With returns a row with this attribute as well, or instead: value is its JSON, such as {"S":"text"}.
func (r Row) With(name, value string) Row {
	changed := maps.Clone(r)
	changed[name] = json.RawMessage(value)
	return changed
}

// Names returns the names of a row's attributes, sorted.
func (r Row) Names() []string { return slices.Sorted(maps.Keys(r)) }

// rows are the places of an answer in which DynamoDB puts rows.
type rows struct {
	Items               []Row // of Query and Scan
	Item                Row   // of GetItem, and of a condition that failed
	Attributes          Row   // of PutItem, UpdateItem and DeleteItem
	CancellationReasons []struct{ Item Row }
}

// RowsOf returns the rows of an answer, wherever it holds them.
func RowsOf(response []byte) (list []Row) {
	var in rows
	if json.Unmarshal(response, &in) != nil {
		return nil
	}
	list = append(list, in.Items...)
	for _, row := range []Row{in.Item, in.Attributes} {
		if row != nil {
			list = append(list, row)
		}
	}
	for _, reason := range in.CancellationReasons {
		if reason.Item != nil {
			list = append(list, reason.Item)
		}
	}
	return list
}

// Edit makes other rows of those that an answer holds.
type Edit func([]Row) []Row

// Rows makes a [Fault.Rewrite] of an edit. The counts of a Query's or a Scan's answer are made to fit. Where an answer has
// room for one row, the first one counts, and none leaves it out. An answer without room for rows stays as it is.
func Rows(edit Edit) func(response []byte) []byte {
	return func(response []byte) []byte {
		var members map[string]json.RawMessage
		if json.Unmarshal(response, &members) != nil {
			return response
		}
		var in rows
		if json.Unmarshal(response, &in) != nil {
			return response
		}
		if _, several := members["Items"]; several {
			list := edit(in.Items)
			if list == nil {
				list = []Row{}
			}
			members["Items"] = text(list)
			members["Count"], members["ScannedCount"] = text(len(list)), text(len(list))
		}
		for name, row := range map[string]Row{"Item": in.Item, "Attributes": in.Attributes} {
			if row == nil {
				continue
			}
			if list := edit([]Row{row}); len(list) > 0 {
				members[name] = text(list[0])
			} else {
				delete(members, name)
			}
		}
		return text(members)
	}
}

// Each edits each row by itself.
func Each(edit func(Row) Row) Edit {
	return func(list []Row) []Row {
		edited := make([]Row, 0, len(list))
		for _, row := range list {
			edited = append(edited, edit(maps.Clone(row)))
		}
		return edited
	}
}

// Missing leaves an attribute out of every row.
func Missing(name string) Edit {
	return Each(func(row Row) Row {
		delete(row, name)
		return row
	})
}

// Retyped makes an attribute, where a row has it, one of a type that no record of ours holds.
func Retyped(name string) Edit {
	return Each(func(row Row) Row {
		if _, there := row[name]; there {
			row[name] = json.RawMessage(`{"NS":["1"]}`)
		}
		return row
	})
}

// Future raises every record's version: a later release wrote them.
func Future() Edit {
	return Each(func(row Row) Row {
		var version struct{ N string }
		_ = json.Unmarshal(row["v"], &version)
		n, _ := strconv.Atoi(version.N)
		return row.With("v", fmt.Sprintf(`{"N":"%d"}`, n+1))
	})
}

// Twice repeats every row.
func Twice() Edit {
	return func(list []Row) []Row { return append(slices.Clone(list), list...) }
}

// Instead puts other rows in the place of all.
func Instead(others ...Row) Edit {
	return func([]Row) []Row { return others }
}

// Also adds rows behind those that are there.
func Also(others ...Row) Edit {
	return func(list []Row) []Row { return append(slices.Clone(list), others...) }
}

func text(value any) json.RawMessage {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // what was JSON before
	}
	return b
}

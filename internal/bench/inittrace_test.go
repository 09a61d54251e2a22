package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInits(t *testing.T) {
	t.Parallel()
	plain, err := readInits("init internal/godebug @0.45 ms, 0.10 ms clock, 312 bytes, 7 allocs\n")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := readInits(`init internal/godebug @0.45 ms, 3.1 ms clock, 312 bytes, 7 allocs
v2.11.9
init github.com/aws/aws-sdk-go-v2/service/dynamodb/schemas @20 ms, 0.5 ms clock, 586696 bytes, 3151 allocs
init github.com/aws/smithy-go/time @20 ms, 0 ms clock, 48 bytes, 2 allocs
init github.com/go-webauthn/webauthn/protocol @52 ms, 0.12 ms clock, 52464 bytes, 416 allocs
init github.com/stepgate/stepgate/caddymodule @58 ms, 0.22 ms clock, 139248 bytes, 1565 allocs
init net/http/cookiejar @54 ms, 0.001 ms clock, 1 bytes, 1 allocs
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []made{{0.5, 586744, 3153}, {0.12, 52464, 416}, {0.22, 139248, 1565}, {0.001, 1, 1}}
	if diff := cmp.Diff(want, grouped(ours, plain), cmp.AllowUnexported(made{})); diff != "" {
		t.Error(diff)
	}
	if got, err := readInits("v2.11.9\n"); err == nil {
		t.Errorf("of nothing %v was read", got)
	}
}

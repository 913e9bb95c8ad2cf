package main

import (
	"bytes"
	"go/format"
	"os"
	"testing"
)

func TestCommittedFilesAreWhatGenPrints(t *testing.T) {
	source, err := format.Source([]byte(golang()))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../lanes_amd64.s": []byte(assembly()), "../block.go": source} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what gen prints (%v): run go generate", name, err)
		}
	}
}

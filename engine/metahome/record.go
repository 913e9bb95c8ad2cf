package metahome

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// File is the name of a copy's record, in its directory.
const File = "COPY"

// Format of the file COPY, version 1: one JSON object of these fields, at most
// maxRecord bytes, mode 0600, replaced as a whole.
//
//	v           1; greater: refused as newer
//	store       id of the store: 32 hexadecimal digits, the same in every copy
//	generation  1 … 2^32-1
//	voters      names of the voters: ids of drives, and "witness"
//	leaving     names of the voters before the last change, while it is under way
//	copies      ids of the drives with a copy in service; "" is the state directory's disk
//	sum         first 16 bytes of the SHA-256 of the object without sum, in hexadecimal digits
//
// A voter keeps one number of 64 bits: the promised number in the upper 32, the
// accepted one, which is the generation it knows of, in the lower 32.
type record struct {
	Version    int      `json:"v"`
	Store      string   `json:"store"`
	Generation uint32   `json:"generation"`
	Voters     []string `json:"voters"`
	Leaving    []string `json:"leaving,omitempty"`
	Copies     []string `json:"copies"`
	Sum        string   `json:"sum,omitempty"`
}

const (
	recordVersion = 1
	maxRecord     = 1 << 20 // bytes
	// span is how many numbers are promised at once.
	span = 256
	// trustStep is by how much numbers jump when an administrator has chosen: beyond
	// what voters that could not be asked may know.
	trustStep = 1 << 20
)

var errNewer = errors.New("written by a later release")

func (r record) sum() string {
	r.Sum = ""
	text, err := json.Marshal(r)
	if err != nil { // no field can fail
		return ""
	}
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:16])
}

func (r record) encode() ([]byte, error) {
	r.Version = recordVersion
	r.Sum = r.sum()
	return json.Marshal(r)
}

func decodeRecord(text []byte) (record, error) {
	var r record
	if len(text) > maxRecord {
		return r, errors.New("too large")
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	switch {
	case r.Version > recordVersion:
		return r, errNewer
	case r.Version < 1 || r.Sum == "" || r.Sum != r.sum():
		return r, errors.New("damaged")
	case r.Generation == 0 || r.Store == "" || len(r.Voters) == 0:
		return r, errors.New("incomplete")
	}
	return r, nil
}

// vote is what a voter keeps.
type vote struct{ promised, accepted uint32 }

func voteOf(v uint64) vote { return vote{uint32(v >> 32), uint32(v)} }

func (v vote) value() uint64 { return uint64(v.promised)<<32 | uint64(v.accepted) }

// covers tells whether who keeps v knows all of w.
func (v vote) covers(w vote) bool { return v.promised >= w.promised && v.accepted >= w.accepted }

// join returns what covers both.
func (v vote) join(w vote) vote {
	return vote{max(v.promised, w.promised), max(v.accepted, w.accepted)}
}

// rangeAbove returns the first number of the first range that lies wholly above n.
func rangeAbove(n uint32) (uint32, error) {
	next := (uint64(n)/span + 1) * span
	if next > math.MaxUint32-span {
		return 0, fmt.Errorf("metadata: no generation is left above %d", n)
	}
	return uint32(next), nil
}

// majority of n voters.
func majority(n int) int { return n/2 + 1 }

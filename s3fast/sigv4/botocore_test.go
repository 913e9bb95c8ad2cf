package sigv4

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"testing"
	"time"
)

// TestBotocore verifies requests that botocore and boto3 signed: their signers
// on requests of odd shapes, whole client calls, and presigned URLs. Nothing is
// sent anywhere.
func TestBotocore(t *testing.T) {
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skipf("python3 with boto3 is needed: %v", err)
	}
	const count = 400
	cmd := exec.Command("python3", "testdata/botocore_sign.py", "1", "400")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	v := verifierAt(time.Now(), docKey, docSecret, "s3")
	v.Now = nil
	kinds := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row struct {
			Kind, Method, Path, Query, Host string
			Headers                         [][2]string
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		r := &fakeRequest{row.Method, row.Path, row.Query, row.Host, row.Headers}
		res, err := v.Verify(r)
		if err != nil {
			t.Errorf("%s: %v\n%s", row.Kind, err, lines.Bytes())
			continue
		}
		if res.AccessKey != docKey || res.Presigned != (r.Header("authorization") == "") {
			t.Errorf("%s: result %+v", row.Kind, res)
		}
		r.path += "x"
		if _, err := v.Verify(r); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s, path changed: %v", row.Kind, err)
		}
		kinds[row.Kind]++
	}
	t.Log(kinds)
	total := 0
	for _, n := range kinds {
		total += n
	}
	if total != count || len(kinds) != 5 {
		t.Errorf("%d requests of %d kinds, want %d of 5", total, len(kinds), count)
	}
}

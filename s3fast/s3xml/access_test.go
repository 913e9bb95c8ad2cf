package s3xml

import (
	"errors"
	"strings"
	"testing"
)

func TestAccessDocuments(t *testing.T) {
	if got, want := string(AppendPolicyStatus(nil, true)), Header+`<PolicyStatus xmlns="`+Namespace+`"><IsPublic>true</IsPublic></PolicyStatus>`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i := range 16 {
		b := PublicAccessBlock{i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0}
		doc := AppendPublicAccessBlock(nil, &b)
		got, err := DecodePublicAccessBlock(doc)
		if err != nil || *got != b || strings.Count(string(doc), "true") != strings.Count(bits(i), "1") {
			t.Errorf("%s: %+v, %v", doc, got, err)
		}
	}
	for _, rule := range []string{"BucketOwnerEnforced", "ObjectWriter", "<&>"} {
		if got, err := DecodeOwnershipControls(AppendOwnershipControls(nil, rule)); err != nil || got != rule {
			t.Errorf("%s: %s, %v", rule, got, err)
		}
	}
	if got, err := DecodePublicAccessBlock([]byte("<PublicAccessBlockConfiguration/>")); err != nil || *got != (PublicAccessBlock{}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, in := range []string{"", "<x/>", "<BlockPublicAcls>maybe</BlockPublicAcls>", "<BlockPublicAcls/><BlockPublicAcls/>",
		"<Other>true</Other>", "true", strings.Repeat(" ", MaxPublicAccess), "<BlockPublicAcls><a/></BlockPublicAcls>"} {
		if got, err := DecodePublicAccessBlock([]byte("<PublicAccessBlockConfiguration>" + in + "</PublicAccessBlockConfiguration>")); in != "" && !errors.Is(err, ErrMalformed) {
			t.Errorf("%.80s: %+v, %v", in, got, err)
		}
	}
	rule := "<Rule><ObjectOwnership>x</ObjectOwnership></Rule>"
	for _, in := range []string{"", "<Rule/>", "<Rule><ObjectOwnership/></Rule>", rule + rule, "<Rule><Other/></Rule>", "<Other/>", "text",
		rule + strings.Repeat(" ", MaxOwnership)} {
		if got, err := DecodeOwnershipControls([]byte("<OwnershipControls>" + in + "</OwnershipControls>")); got != "" || !errors.Is(err, ErrMalformed) {
			t.Errorf("%.80s: %q, %v", in, got, err)
		}
	}
}

// bits writes the low four bits of n.
func bits(n int) string {
	var b strings.Builder
	for i := range 4 {
		b.WriteByte('0' + byte(n>>i&1))
	}
	return b.String()
}

// FuzzAccess holds that what the decoders of access documents accept survives a
// round trip.
func FuzzAccess(f *testing.F) {
	f.Add([]byte("<PublicAccessBlockConfiguration><BlockPublicAcls>TRUE</BlockPublicAcls></PublicAccessBlockConfiguration>"))
	f.Add([]byte("<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if b, err := DecodePublicAccessBlock(in); err == nil {
			if again, err := DecodePublicAccessBlock(AppendPublicAccessBlock(nil, b)); err != nil || *again != *b {
				t.Fatalf("%+v became %+v, %v", b, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if rule, err := DecodeOwnershipControls(in); err == nil {
			if again, err := DecodeOwnershipControls(AppendOwnershipControls(nil, rule)); err != nil || again != rule {
				t.Fatalf("%q became %q, %v", rule, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}

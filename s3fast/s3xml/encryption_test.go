package s3xml

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeEncryption(t *testing.T) {
	wrap := func(s string) string {
		return "<ServerSideEncryptionConfiguration xmlns=\"" + Namespace + "\">" + s + "</ServerSideEncryptionConfiguration>"
	}
	apply := func(s string) string {
		return "<ApplyServerSideEncryptionByDefault>" + s + "</ApplyServerSideEncryptionByDefault>"
	}
	aes := apply("<SSEAlgorithm>AES256</SSEAlgorithm>")
	for text, want := range map[string]*Encryption{
		wrap("<Rule>" + aes + "</Rule>"): {Algorithm: "AES256"},
		wrap("<Rule>" + apply("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k&amp;1</KMSMasterKeyID>") +
			"<BucketKeyEnabled>true</BucketKeyEnabled></Rule>"): {Algorithm: "aws:kms", KeyID: "k&1", BucketKey: true},
		wrap("<Rule><BucketKeyEnabled>false</BucketKeyEnabled></Rule>"): {},
		wrap("<Rule><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule>"): {
			Blocked: []string{"SSE-C"}},
		wrap(""):                                       nil,
		wrap("<Rule>" + aes + "</Rule><Rule/>"):        nil,
		wrap("<Rule>" + aes + aes + "</Rule>"):         nil,
		wrap("<Rule>" + apply("") + "</Rule>"):         nil,
		wrap("<Rule>" + apply("<X>1</X>") + "</Rule>"): nil,
		wrap("<Rule><X/></Rule>"):                      nil,
		wrap("<X/>"):                                   nil,
		wrap("<Rule><BucketKeyEnabled>maybe</BucketKeyEnabled></Rule>"):                                                       nil,
		wrap("<Rule><BlockedEncryptionTypes><X>1</X></BlockedEncryptionTypes></Rule>"):                                        nil,
		wrap("<Rule><BlockedEncryptionTypes>" + strings.Repeat("<EncryptionType/>", 11) + "</BlockedEncryptionTypes></Rule>"): nil,
		"<Other/>": nil,
		"":         nil,
	} {
		got, err := DecodeEncryption([]byte(text))
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	rule := &Encryption{Algorithm: "aws:kms", KeyID: "a<b", BucketKey: true}
	if got, err := DecodeEncryption(AppendEncryption(nil, rule)); err != nil || !reflect.DeepEqual(got, rule) {
		t.Errorf("round trip: %+v, %v", got, err)
	}
}

func FuzzDecodeEncryption(f *testing.F) {
	f.Add(AppendEncryption(nil, &Encryption{Algorithm: "aws:kms", KeyID: "k", BucketKey: true}))
	f.Add([]byte("<ServerSideEncryptionConfiguration><Rule/></ServerSideEncryptionConfiguration>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		rule, err := DecodeEncryption(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if len(rule.Blocked) > maxBlocked || len(rule.KeyID) > len(body) {
			t.Fatalf("%+v", rule)
		}
	})
}

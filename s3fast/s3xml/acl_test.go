package s3xml

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeACL(t *testing.T) {
	own := []Grant{{ID: "me", Permission: "FULL_CONTROL"}}
	// What GetBucketAcl answers can be sent back.
	if got, err := DecodeACL(AppendOwnerACL(nil, &Owner{ID: "me", DisplayName: "a & b"})); err != nil || !reflect.DeepEqual(got, own) {
		t.Errorf("%+v, %v", got, err)
	}
	wrap := func(s string) string {
		return "<AccessControlPolicy" + ns + "><AccessControlList>" + s + "</AccessControlList></AccessControlPolicy>"
	}
	grant := func(grantee string) string {
		return "<Grant><Grantee>" + grantee + "</Grantee><Permission> READ </Permission></Grant>"
	}
	for in, want := range map[string][]Grant{
		"<AccessControlPolicy/>":    {},
		wrap(""):                    {},
		wrap(grant("<URI>u</URI>")): {{URI: "u", Permission: "READ"}},
		wrap(grant("<EmailAddress>e</EmailAddress>")): {{Email: "e", Permission: "READ"}},
	} {
		if got, err := DecodeACL([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "<Acl/>", wrap("<Grant/>"), wrap("x"), wrap(grant("")), wrap(grant("<X>1</X>")),
		wrap(grant("<ID>1</ID><ID>2</ID>")), wrap("<Grant><Grantee><ID>1</ID></Grantee></Grant>"), wrap("<Other/>"),
		"<AccessControlPolicy><Other/></AccessControlPolicy>", wrap(strings.Repeat(grant("<ID>1</ID>"), MaxGrants+1))} {
		if _, err := DecodeACL([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.80s: %v", in, err)
		}
	}
}

package policy

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// What is said of a policy's memory is not far from what it takes.
func TestSize(t *testing.T) {
	for name, text := range map[string]string{
		"marks":    doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::b/`+strings.Repeat("?", 1900)+`"`)),
		"marked":   doc(stmt("Allow", `"s3:*"`, `"arn:aws:s3:::b/`+strings.Repeat("?a", 950)+`"`)),
		"actions":  doc(stmt("Allow", `[`+strings.Repeat(`"*",`, 400)+`"*"]`, `"*"`)),
		"arns":     doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":[` + strings.Repeat(`"*",`, 400) + `"*"]}}}`),
		"folded":   doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIgnoreCase":{"aws:PrincipalArn":[` + strings.Repeat(`"${s3:x-amz-a}",`, 100) + `"*"]}}}`),
		"numbers":  doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericEquals":{"s3:max-keys":[` + strings.Repeat(`1,`, 400) + `1]}}}`),
		"ranges":   doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":[` + strings.Repeat(`"::1",`, 400) + `"::1"]}}}`),
		"ordinary": doc(slices.Repeat([]string{stmt("Allow", `["s3:Get*","s3:List*"]`, `["arn:aws:s3:::b/*","arn:aws:s3:::b"]`)}, 50)...),
	} {
		var keep [40]*Policy
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range keep {
			keep[i] = parse(t, text)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		takes, said := int(after.HeapAlloc-before.HeapAlloc)/len(keep), keep[0].Size()
		if said < takes*2/3 || said > takes*2 {
			t.Errorf("%s: %d bytes of %d, said to be %d", name, takes, len(text), said)
		}
		runtime.KeepAlive(keep)
	}
	if n := (*Policy)(nil).Size(); n != 0 {
		t.Errorf("none: %d", n)
	}
}

package s3xml

import (
	"encoding/xml"
	"testing"
	"time"
)

func TestSTS(t *testing.T) {
	role := AssumedRole{
		Credentials: STSCredentials{"ASIA1", "sec<ret", "tok/en+=", time.Date(2026, 5, 4, 3, 2, 1, 999, time.FixedZone("", 3600))},
		ARN:         "arn:aws:sts::000000000000:assumed-role/alice/s", ID: "AROA1:s",
	}
	web := role
	web.Subject, web.Audience, web.Provider, web.PackedPolicySize = "a&b", "app", "https://id.example.com", 7
	user := "<AssumedRoleUser><Arn>arn:aws:sts::000000000000:assumed-role/alice/s</Arn><AssumedRoleId>AROA1:s</AssumedRoleId></AssumedRoleUser>" +
		"<Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>sec&lt;ret</SecretAccessKey><SessionToken>tok/en+=</SessionToken><Expiration>2026-05-04T02:02:01Z</Expiration></Credentials>"
	const ns = ` xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`
	for got, want := range map[string]string{
		string(AppendAssumedRole(nil, "AssumeRole", &role, "R1")): "<AssumeRoleResponse" + ns + "<AssumeRoleResult>" + user +
			"</AssumeRoleResult><ResponseMetadata><RequestId>R1</RequestId></ResponseMetadata></AssumeRoleResponse>",
		string(AppendAssumedRole(nil, "AssumeRoleWithWebIdentity", &web, "R1")): "<AssumeRoleWithWebIdentityResponse" + ns +
			"<AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>a&amp;b</SubjectFromWebIdentityToken><Audience>app</Audience>" + user +
			"<Provider>https://id.example.com</Provider><PackedPolicySize>7</PackedPolicySize>" +
			"</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>R1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>",
		string(AppendCallerIdentity(nil, "arn:a", "AIDA1", "000000000000", "R1")): "<GetCallerIdentityResponse" + ns +
			"<GetCallerIdentityResult><Arn>arn:a</Arn><UserId>AIDA1</UserId><Account>000000000000</Account></GetCallerIdentityResult>" +
			"<ResponseMetadata><RequestId>R1</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
		string(AppendSTSError(nil, true, "ValidationError", "a < b", "R1")): "<ErrorResponse" + ns +
			"<Error><Type>Sender</Type><Code>ValidationError</Code><Message>a &lt; b</Message></Error><RequestId>R1</RequestId></ErrorResponse>",
		string(AppendSTSError(nil, false, "InternalFailure", "", "R1")): "<ErrorResponse" + ns +
			"<Error><Type>Receiver</Type><Code>InternalFailure</Code><Message></Message></Error><RequestId>R1</RequestId></ErrorResponse>",
		string(AppendPostResponse(nil, &PostResponse{"http://h/b/k", "b", "k&l", "e"})): "<PostResponse><Location>http://h/b/k</Location>" +
			"<Bucket>b</Bucket><Key>k&amp;l</Key><ETag>&quot;e&quot;</ETag></PostResponse>",
	} {
		if got != Header+want {
			t.Errorf("got  %s\nwant %s", got, Header+want)
		}
		if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil {
			t.Errorf("%v in %s", err, got)
		}
	}
}

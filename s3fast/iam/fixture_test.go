package iam

// Made once with version 1; never to be made again.
const (
	fixtureSecret = "xFRguOPHSKaz2ghgRGUr0_dMIwuvMziWNJrYndQQ"
	fixtureToken  = "AUHCyzTYcV-UMJ1xK5XNewl-d93ueF4yWU8LxDO0Amh44yIoYogjvbtn5BPIKqEa41k8_ftJ89VyiFFgrlto08iu4-mno9pcgcmebOft3dUCrllboygpdNk_pJG77stYb-80j2B5Uc4Yc8AnMEyHjSRYlfCSeMiLYZrpV3ZEkKDWYO7_Syzfq5JGd1HNiXC8LMnOXNfNlvCHz3kN7Oo7DPCQTQhCTK56LFoKL6RB3-UUhRAPT1lMSrS30B9QJ-Qiem0EAAk"
)

// fixtureDocs1 is what a store of version 1 holds, at 2026-01-02T03:04:05.678Z:
// secrets sealed with key {1}, all passwords "Passw0rd".
var fixtureDocs1 = map[string]string{
	"users/alice":   `{"v":1,"name":"alice","role":"s3","policy":"mine","created":"2026-01-02T03:04:05.678Z","modified":"2026-01-02T03:04:05.678Z","secret":"AWiDQDleUPHruEUtW90CnG7qqJzhtezU175OvCu5l7+iUOIZiw=="}`,
	"users/root":    `{"v":1,"name":"root","role":"clusteradmin","created":"2026-01-02T03:04:05.678Z","modified":"2026-01-02T03:04:05.678Z","hash":"$argon2id$v=19$m=19456,t=2,p=1$dfHPkT4nq39+hDuZZla1rA$4VtT/glL/JZSWGrGScawWAHeJ+gqm7wyGv3xtJ9Lqbs"}`,
	"policies/mine": `{"v":1,"name":"mine","document":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::a/*\"}}","created":"2026-01-02T03:04:05.678Z"}`,
}

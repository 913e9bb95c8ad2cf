package kms

// Made once with version 1; never to be made again.
const localFixture = "010000000378cf231b188556d28f06f471ecd4ecc921f4f1bb2d3a549e727dfc83a1e0472ed8"

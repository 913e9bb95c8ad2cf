package main

// auditRoutes are the admin routes of the audit webhook.
func auditRoutes() map[string]adminFunc {
	return map[string]adminFunc{}
}

// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import "testing"

// The origin of a client's page goes into the policy of one of ours, so nothing in a host may end a rule or stand for other hosts.
func TestAttackPolicyInjectionByHost(t *testing.T) {
	t.Parallel()
	ctx := clientContext{development: true}
	for _, uri := range []string{
		"https://app.example;sandbox/logout", "https://*/logout", "https://*.example/logout", "https://app.example,evil.example/", "https://'self'/",
		"https://app.example'/", "https://u@app.example/", "http://app.example/", "javascript:alert(1)", "https:///x", "//app.example/", "https://$app/",
	} {
		if err := webAddress("frontchannel_logout_uri", uri, ctx); err == nil {
			t.Errorf("%s is an address", uri)
		}
	}
	for _, uri := range []string{"", "https://app.example/logout?a=1;b", "https://app.example:8443/", "https://[2001:db8::1]/", "http://app.localhost:3000/x"} {
		if err := webAddress("frontchannel_logout_uri", uri, ctx); err != nil {
			t.Error(err)
		}
	}
}

package login

import (
	"fmt"
	"testing"

	"mxbypass/mailbox"
)

func TestMayUse(t *testing.T) {
	u := company()
	a, _ := authenticator(t, u, nil)
	anna, bert, carl := "anna@exemple.org", "bert@exemple.org", "carl@exemple.org"
	for _, c := range []struct {
		user, sender string
		want         bool
	}{
		{anna, "Anna@exemple.org", true},
		{anna, "ANNA@EXEMPLE.ORG", true},
		{anna, "anna+shop@exemple.org", true},
		{anna, "info@exemple.org", true},
		{anna, "info+shop@exemple.org", true},
		{anna, "team@exemple.org", true},
		{anna, "tagged@exemple.org", true},
		{anna, "all@split.example", true},
		{bert, "team@exemple.org", true},
		{bert, "all@split.example", true},
		{anna, bert, false},
		{anna, carl, false},
		{anna, "unknown@exemple.org", false}, // the catch-all leads to her
		{anna, "loop@exemple.org", false},
		{anna, "anna@bücher.example", false},
		{anna, "anna@elsewhere.example", false},
		{anna, "away@elsewhere.example", false},
		{anna, "shut@closed.example", false},
		{bert, "info@exemple.org", false},
		{carl, bert, false}, // whose copies he has
		{carl, "team@exemple.org", false},
		{"off@exemple.org", "off@exemple.org", false}, // disabled since
		{"gone@exemple.org", "gone@exemple.org", false},
		{"anna@closed.example", "anna@closed.example", false},
	} {
		got, err := a.MayUse(t.Context(), Identity{address(c.user)}, address(c.sender))
		if err != nil || got != c.want {
			t.Errorf("%s as %s: %v, %v", c.user, c.sender, got, err)
		}
	}
	for _, sender := range []mailbox.Address{
		{}, {Local: "postmaster"}, {Local: "an na", Domain: address(anna).Domain}, {Domain: address(anna).Domain},
	} {
		if ok, err := a.MayUse(t.Context(), Identity{address(anna)}, sender); ok || err != nil {
			t.Error(sender, ok, err)
		}
	}
}

// What aliases lead to is bounded, whatever the directory says.
func TestMayUseIsBounded(t *testing.T) {
	u := company()
	a, _ := authenticator(t, u, nil)
	e := mailbox.Entry{Address: address("huge@exemple.org")}
	for i := range 3 * mailbox.MaxAliasEntries {
		e.Alias = append(e.Alias, address(fmt.Sprintf("huge%d@exemple.org", i)))
	}
	e.Alias = append(e.Alias, address("anna@exemple.org"))
	for i := range 100 {
		more := e
		more.Address.Local = mailbox.LocalPart(fmt.Sprintf("huge%d", i))
		u.entries[more.Address.Wire()] = more
	}
	u.entries["huge@exemple.org"] = e
	if ok, err := a.MayUse(t.Context(), Identity{address("anna@exemple.org")}, e.Address); ok || err != nil {
		t.Error(ok, err)
	}
}

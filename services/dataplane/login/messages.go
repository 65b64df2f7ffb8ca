// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import "strings"

// catalogue holds the texts of pages and mails in one language. {name} stands for a value.
type catalogue map[string]string

// text gives a text with its values filled in: pairs of name and value. A text that a language lacks is English; one that English
// lacks is its key, which a test finds.
func (c catalogue) text(key string, pairs ...string) string {
	s, ok := c[key]
	if !ok {
		if s, ok = english[key]; !ok {
			return key
		}
	}
	if len(pairs) == 0 {
		return s
	}
	// One pass, so that a name with braces in it is never filled in again.
	named := make([]string, len(pairs))
	for i := range pairs {
		named[i] = pairs[i]
		if i%2 == 0 {
			named[i] = "{" + pairs[i] + "}"
		}
	}
	return strings.NewReplacer(named...).Replace(s)
}

// catalogueOf gives a language's texts.
func catalogueOf(tag string) catalogue {
	if tag == "de" {
		return german
	}
	return english
}

// english is the table that all others follow. Rules for texts (a test holds them): an empty field gets an instruction, a wrong one a
// description that names it as its label does; no apology, no blame, nothing about machines that the person cannot act on.
var english = catalogue{ //nolint:gosec // G101: texts about passwords, not passwords
	"dev.banner": "Development tenant",
	"dev.text":   "for testing, not for real people",

	"footer.signing_in": "You are signing in at {host}",
	"footer.here":       "You are at {host}",
	"footer.language":   "Language",
	"footer.privacy":    "{app}: privacy policy",
	"footer.terms":      "{app}: terms",

	"error.prefix":  "Error: ",
	"problem.title": "There is a problem",

	"field.email":          "Email address",
	"field.name.optional":  "Full name (optional)",
	"field.password":       "Password",
	"field.new_password":   "Choose a password",
	"password.show":        "Show",
	"password.hide":        "Hide",
	"password.show.long":   "Show password",
	"password.hide.long":   "Hide password",
	"password.hint":        "At least {min} characters. Several words you can remember work well.",
	"email.empty":          "Enter your email address",
	"email.format":         "Enter an email address with a name, an @ and a domain, like name@example.com",
	"name.format":          "Enter a name without control characters, at most 256 bytes long",
	"password.empty":       "Enter your password",
	"password.new.empty":   "Choose a password",
	"password.too_short":   "Choose a password with at least {min} characters",
	"password.too_long":    "Choose a password with at most 1,024 characters",
	"password.unusable":    "Choose a password made of text",
	"password.common":      "Choose a password that is harder to guess: this one is on every list of common passwords",
	"password.is_email":    "Choose a password that differs from your email address",
	"password.is_tenant":   "Choose a password that differs from the name {tenant}",
	"credentials.mismatch": "That email address and password do not match an account at {tenant}. Check both.",

	"login.title":    "Sign in to {tenant}",
	"login.step":     "Sign in",
	"login.continue": "to continue to {app}",
	"login.button":   "Sign in",
	"login.new":      "New here?",
	"login.register": "Create an account",

	"register.title":    "Create your {tenant} account",
	"register.step":     "Create an account",
	"register.button":   "Create account",
	"register.have":     "Already have an account?",
	"register.login":    "Sign in",
	"register.taken":    "This email address already has an account at {tenant}. Sign in with it, or choose another address.",
	"register.closed":   "{tenant} adds people by invitation",
	"register.closed.2": "Ask the person who runs {tenant} to invite you. If you have an account, sign in with it.",

	"consent.title":         "{app} asks for access",
	"consent.step":          "Allow access",
	"consent.switch":        "Use another account",
	"consent.intro":         "If you allow it, {app} may:",
	"consent.goes":          "Afterwards you go to {host}",
	"consent.allow":         "Allow",
	"consent.cancel":        "Cancel",
	"scope.openid":          "know who you are at {tenant}",
	"scope.profile":         "see your name and profile",
	"scope.email":           "see your email address",
	"scope.offline_access":  "keep this access while you are away",
	"scope.roles":           "see your roles and groups at {tenant}",
	"scope.other":           "use “{scope}”",
	"consent.scope.nothing": "know that you signed in",
	"consent.details":       "It also asks you to approve:",
	"consent.yes":           "Yes",
	"consent.no":            "No",

	"select.title":    "Choose an account",
	"select.step":     "Choose an account",
	"select.continue": "Continue as {name}",
	"select.other":    "Use another account",

	"logout.title":   "Sign out of {tenant}?",
	"logout.step":    "Sign out",
	"logout.button":  "Sign out",
	"logout.stay":    "Stay signed in",
	"logout.done":    "You are signed out",
	"logout.done.2":  "This browser is no longer signed in to {tenant}. Other applications may keep you signed in until you sign out there.",
	"logout.frames":  "Other applications that you used here are signing you out as well. You go on in a moment.",
	"logout.again":   "Sign in again",
	"logout.back_to": "Back to {app}",

	"invite.title":   "Welcome to {tenant}",
	"invite.step":    "Accept the invitation",
	"invite.intro":   "You are invited to join {tenant}. Choose a password to finish.",
	"invite.button":  "Join {tenant}",
	"invite.used":    "This invitation link does not work any more",
	"invite.used.2":  "It was used already, it has run out, or a newer one replaced it. If you have chosen a password, sign in. Otherwise ask the person who invited you for a new link.",
	"invite.sign_in": "Sign in to {tenant}",

	"account.title":    "You are signed in",
	"account.continue": "Continue to {app}",

	"device.step":         "Connect a device",
	"device.title":        "Connect a device",
	"device.intro":        "Enter the code that your device shows.",
	"device.code":         "Code",
	"device.code.hint":    "Eight letters, like BCDF-GHJK. The dash does not matter.",
	"device.code.empty":   "Enter the code that your device shows",
	"device.code.format":  "Enter the eight letters that your device shows: there are no digits and no vowels in it",
	"device.code.unknown": "Enter the code again, or start again on the device: this one is not known here, was used, or has run out",
	"device.code.guesses": "Wait ten minutes, then enter the code again: too many wrong ones were tried",
	"device.continue":     "Continue",
	"device.warning":      "Go on only if you began this yourself, on a device in front of you. Nobody from our side ever sends you such a code or asks you for one.",
	"device.confirm":      "Sign in to {app} on another device?",
	"device.compare":      "Check that your device shows the same code.",
	"device.when":         "Asked on {date}",
	"device.where":        "From the internet address {address}",
	"device.deny":         "Do not allow",
	"device.done":         "Your device is connected",
	"device.done.2":       "You can close this page: {app} goes on by itself on your device in a few seconds.",
	"device.denied":       "You did not allow it",
	"device.denied.2":     "{app} gets no access. If you did not begin this yourself, there is nothing else to do.",
	"device.account":      "Your account",

	"backchannel.title":   "Waiting for your answer",
	"backchannel.none":    "No application is waiting for your answer. A request that was here may have run out.",
	"backchannel.reload":  "Look again",
	"backchannel.warning": "Allow only what you began yourself a moment ago. When in doubt, do not allow it: you can begin again.",
	"backchannel.message": "Compare this with what the application shows you:",
	"backchannel.allowed": "You allowed it. The application goes on by itself.",
	"backchannel.denied":  "You did not allow it. The application gets no access.",
	"backchannel.gone":    "This request was answered already, or has run out. Nothing was changed.",

	"post.title":  "Back to {app}",
	"post.text":   "Continue to finish at {app}.",
	"post.button": "Continue",

	"notice.restarted": "This page was open for a long time, so your sign-in began again.",
	"notice.cookies":   "Your browser did not send our cookie back. Allow cookies for {host}, then try again: what you typed is still here.",
	"notice.later":     "This takes longer than usual right now, and nothing was changed. Wait a few seconds, then press the button again: what you typed is still here.",

	"fault.title":       "The link that brought you here does not work",
	"fault.text":        "{app} sent something that we cannot use. Tell the people who run it, and give them this:",
	"fault.text.nobody": "The application that sent you here sent something that we cannot use. Tell the people who run it, and give them this:",
	"fault.again":       "Start again from the application",
	"fault.again.text":  "This sign-in link was cut short or is no longer known here. Go back to the application that you came from and sign in there again.",
	"fault.foreign":     "This form came from another site",
	"fault.foreign.2":   "Nothing was changed. Open {tenant} yourself and try again there.",
	"fault.missing":     "There is no page at this address",
	"fault.missing.2":   "Check the address, or go to the sign-in page.",
	"fault.method":      "This page cannot be opened like this",
	"fault.method.2":    "Go back to the application that you came from and start again there.",
	"fault.away":        "{tenant} cannot sign people in at this moment",
	"fault.away.2":      "Nothing is lost. Wait a few seconds, then load this page again.",
	"fault.server":      "Something of ours broke",
	"fault.server.2":    "It is not your fault, and it was noted. Try again; when it happens again, tell the people who run {tenant} and give them the request number.",
	"fault.request":     "What arrived here cannot be used",
	"fault.request.2":   "Go back and send it again. When it happens again, tell the people who run {tenant} and give them the request number.",
	"fault.id":          "Request number: {id}",
	"fault.back":        "Back to {app}",
	"fault.sign_in":     "Go to the sign-in page",

	"mail.invite.subject": "Your invitation to {tenant}",
	"mail.invite.hello":   "Hello {name},",
	"mail.invite.hi":      "Hello,",
	"mail.invite.text":    "You are invited to join {tenant}. Choose your password to finish:",
	"mail.invite.button":  "Accept the invitation",
	"mail.invite.until":   "The link works once, until {date}.",
	"mail.invite.not_me":  "If you do not know {tenant}, do nothing: without the link nobody gets in.",
	"mail.invite.link":    "If the button does not work, copy this address into your browser:",
	"mail.ask.subject":    "{app} asks for your permission",
	"mail.ask.text":       "{app} asks for access to your {tenant} account and waits for your answer:",
	"mail.ask.message":    "It shows you this: {message}",
	"mail.ask.button":     "See what is asked",
	"mail.ask.until":      "It waits until {date}.",
	"mail.ask.not_me":     "If you did not begin this yourself, do nothing: without your answer nobody gets access.",
	"mail.date":           "2 January 2006, 15:04 MST", // a layout of Go's time package
	"mail.dev":            "Development tenant: this mail is a test.",
}

// german follows english key by key.
var german = catalogue{ //nolint:gosec // G101: as above
	"dev.banner": "Entwicklungsmandant",
	"dev.text":   "zum Testen, nicht für echte Personen",

	"footer.signing_in": "Sie melden sich bei {host} an",
	"footer.here":       "Sie sind bei {host}",
	"footer.language":   "Sprache",
	"footer.privacy":    "{app}: Datenschutz",
	"footer.terms":      "{app}: Nutzungsbedingungen",

	"error.prefix":  "Fehler: ",
	"problem.title": "Etwas stimmt noch nicht",

	"field.email":          "E-Mail-Adresse",
	"field.name.optional":  "Vollständiger Name (freiwillig)",
	"field.password":       "Passwort",
	"field.new_password":   "Passwort wählen",
	"password.show":        "Zeigen",
	"password.hide":        "Verbergen",
	"password.show.long":   "Passwort zeigen",
	"password.hide.long":   "Passwort verbergen",
	"password.hint":        "Mindestens {min} Zeichen. Mehrere Wörter, die Sie sich merken können, sind gut.",
	"email.empty":          "Geben Sie Ihre E-Mail-Adresse ein",
	"email.format":         "Geben Sie eine E-Mail-Adresse mit Namen, @ und Domain ein, wie name@example.com",
	"name.format":          "Geben Sie einen Namen ohne Steuerzeichen ein, höchstens 256 Byte lang",
	"password.empty":       "Geben Sie Ihr Passwort ein",
	"password.new.empty":   "Wählen Sie ein Passwort",
	"password.too_short":   "Wählen Sie ein Passwort mit mindestens {min} Zeichen",
	"password.too_long":    "Wählen Sie ein Passwort mit höchstens 1.024 Zeichen",
	"password.unusable":    "Wählen Sie ein Passwort aus Text",
	"password.common":      "Wählen Sie ein Passwort, das schwerer zu erraten ist: dieses steht auf jeder Liste häufiger Passwörter",
	"password.is_email":    "Wählen Sie ein Passwort, das nicht Ihre E-Mail-Adresse ist",
	"password.is_tenant":   "Wählen Sie ein Passwort, das nicht der Name {tenant} ist",
	"credentials.mismatch": "Diese E-Mail-Adresse und dieses Passwort passen zu keinem Konto bei {tenant}. Prüfen Sie beides.",

	"login.title":    "Bei {tenant} anmelden",
	"login.step":     "Anmelden",
	"login.continue": "weiter zu {app}",
	"login.button":   "Anmelden",
	"login.new":      "Neu hier?",
	"login.register": "Konto anlegen",

	"register.title":    "Ihr Konto bei {tenant}",
	"register.step":     "Konto anlegen",
	"register.button":   "Konto anlegen",
	"register.have":     "Sie haben schon ein Konto?",
	"register.login":    "Anmelden",
	"register.taken":    "Diese E-Mail-Adresse hat schon ein Konto bei {tenant}. Melden Sie sich damit an oder wählen Sie eine andere Adresse.",
	"register.closed":   "{tenant} nimmt Personen auf Einladung auf",
	"register.closed.2": "Bitten Sie die Person, die {tenant} verwaltet, um eine Einladung. Wenn Sie ein Konto haben, melden Sie sich damit an.",

	"consent.title":         "{app} bittet um Zugriff",
	"consent.step":          "Zugriff erlauben",
	"consent.switch":        "Anderes Konto verwenden",
	"consent.intro":         "Wenn Sie es erlauben, darf {app}:",
	"consent.goes":          "Danach kommen Sie zu {host}",
	"consent.allow":         "Erlauben",
	"consent.cancel":        "Abbrechen",
	"scope.openid":          "wissen, wer Sie bei {tenant} sind",
	"scope.profile":         "Ihren Namen und Ihr Profil sehen",
	"scope.email":           "Ihre E-Mail-Adresse sehen",
	"scope.offline_access":  "diesen Zugriff behalten, während Sie weg sind",
	"scope.roles":           "Ihre Rollen und Gruppen bei {tenant} sehen",
	"scope.other":           "„{scope}“ verwenden",
	"consent.scope.nothing": "wissen, dass Sie sich angemeldet haben",
	"consent.details":       "Außerdem sollen Sie genehmigen:",
	"consent.yes":           "Ja",
	"consent.no":            "Nein",

	"select.title":    "Konto auswählen",
	"select.step":     "Konto auswählen",
	"select.continue": "Weiter als {name}",
	"select.other":    "Anderes Konto verwenden",

	"logout.title":   "Von {tenant} abmelden?",
	"logout.step":    "Abmelden",
	"logout.button":  "Abmelden",
	"logout.stay":    "Angemeldet bleiben",
	"logout.done":    "Sie sind abgemeldet",
	"logout.done.2":  "Dieser Browser ist nicht mehr bei {tenant} angemeldet. Andere Anwendungen behalten Sie womöglich angemeldet, bis Sie sich dort abmelden.",
	"logout.frames":  "Auch andere Anwendungen, die Sie hier benutzt haben, melden Sie jetzt ab. Gleich geht es weiter.",
	"logout.again":   "Wieder anmelden",
	"logout.back_to": "Zurück zu {app}",

	"invite.title":   "Willkommen bei {tenant}",
	"invite.step":    "Einladung annehmen",
	"invite.intro":   "Sie sind zu {tenant} eingeladen. Wählen Sie zum Abschluss ein Passwort.",
	"invite.button":  "{tenant} beitreten",
	"invite.used":    "Dieser Einladungslink gilt nicht mehr",
	"invite.used.2":  "Er wurde schon benutzt, ist abgelaufen oder durch einen neueren ersetzt. Wenn Sie ein Passwort gewählt haben, melden Sie sich an. Sonst bitten Sie die Person, die Sie eingeladen hat, um einen neuen Link.",
	"invite.sign_in": "Bei {tenant} anmelden",

	"account.title":    "Sie sind angemeldet",
	"account.continue": "Weiter zu {app}",

	"device.step":         "Gerät verbinden",
	"device.title":        "Gerät verbinden",
	"device.intro":        "Geben Sie den Code ein, den Ihr Gerät zeigt.",
	"device.code":         "Code",
	"device.code.hint":    "Acht Buchstaben, wie BCDF-GHJK. Der Strich spielt keine Rolle.",
	"device.code.empty":   "Geben Sie den Code ein, den Ihr Gerät zeigt",
	"device.code.format":  "Geben Sie die acht Buchstaben ein, die Ihr Gerät zeigt: Ziffern und Vokale kommen nicht vor",
	"device.code.unknown": "Geben Sie den Code noch einmal ein oder beginnen Sie am Gerät von vorn: dieser ist hier nicht bekannt, benutzt oder abgelaufen",
	"device.code.guesses": "Warten Sie zehn Minuten und geben Sie den Code dann noch einmal ein: zu viele falsche wurden versucht",
	"device.continue":     "Weiter",
	"device.warning":      "Machen Sie nur weiter, wenn Sie das selbst begonnen haben, an einem Gerät vor Ihnen. Niemand von uns schickt Ihnen je einen solchen Code oder fragt danach.",
	"device.confirm":      "Auf einem anderen Gerät bei {app} anmelden?",
	"device.compare":      "Prüfen Sie, ob Ihr Gerät denselben Code zeigt.",
	"device.when":         "Angefragt am {date}",
	"device.where":        "Von der Internetadresse {address}",
	"device.deny":         "Nicht erlauben",
	"device.done":         "Ihr Gerät ist verbunden",
	"device.done.2":       "Sie können diese Seite schließen: {app} macht auf Ihrem Gerät in wenigen Sekunden von selbst weiter.",
	"device.denied":       "Sie haben es nicht erlaubt",
	"device.denied.2":     "{app} bekommt keinen Zugriff. Wenn Sie das nicht selbst begonnen haben, ist weiter nichts zu tun.",
	"device.account":      "Ihr Konto",

	"backchannel.title":   "Wartet auf Ihre Antwort",
	"backchannel.none":    "Keine Anwendung wartet auf Ihre Antwort. Eine Anfrage, die hier war, ist womöglich abgelaufen.",
	"backchannel.reload":  "Noch einmal nachsehen",
	"backchannel.warning": "Erlauben Sie nur, was Sie eben selbst begonnen haben. Im Zweifel erlauben Sie es nicht: Sie können von vorn beginnen.",
	"backchannel.message": "Vergleichen Sie dies mit dem, was die Anwendung Ihnen zeigt:",
	"backchannel.allowed": "Sie haben es erlaubt. Die Anwendung macht von selbst weiter.",
	"backchannel.denied":  "Sie haben es nicht erlaubt. Die Anwendung bekommt keinen Zugriff.",
	"backchannel.gone":    "Diese Anfrage ist schon beantwortet oder abgelaufen. Nichts wurde geändert.",

	"post.title":  "Zurück zu {app}",
	"post.text":   "Weiter, um bei {app} abzuschließen.",
	"post.button": "Weiter",

	"notice.restarted": "Diese Seite war lange offen, deshalb hat Ihre Anmeldung neu begonnen.",
	"notice.cookies":   "Ihr Browser hat unser Cookie nicht zurückgesandt. Erlauben Sie Cookies für {host} und versuchen Sie es noch einmal: Ihre Eingaben sind noch da.",
	"notice.later":     "Das dauert gerade länger als sonst, und nichts wurde geändert. Warten Sie einige Sekunden und drücken Sie die Taste noch einmal: Ihre Eingaben sind noch da.",

	"fault.title":       "Der Link, der Sie hierher gebracht hat, ist nicht brauchbar",
	"fault.text":        "{app} hat etwas gesandt, das wir nicht verwenden können. Sagen Sie es den Betreibern und geben Sie ihnen dies:",
	"fault.text.nobody": "Die Anwendung, von der Sie kommen, hat etwas gesandt, das wir nicht verwenden können. Sagen Sie es den Betreibern und geben Sie ihnen dies:",
	"fault.again":       "Beginnen Sie in der Anwendung von vorn",
	"fault.again.text":  "Dieser Anmeldelink ist abgeschnitten oder hier nicht mehr bekannt. Gehen Sie zurück zur Anwendung, von der Sie kommen, und melden Sie sich dort noch einmal an.",
	"fault.foreign":     "Dieses Formular kam von einer anderen Website",
	"fault.foreign.2":   "Nichts wurde geändert. Öffnen Sie {tenant} selbst und versuchen Sie es dort noch einmal.",
	"fault.missing":     "Unter dieser Adresse gibt es keine Seite",
	"fault.missing.2":   "Prüfen Sie die Adresse oder gehen Sie zur Anmeldung.",
	"fault.method":      "So kann diese Seite nicht geöffnet werden",
	"fault.method.2":    "Gehen Sie zurück zur Anwendung, von der Sie kommen, und beginnen Sie dort von vorn.",
	"fault.away":        "{tenant} kann im Moment niemanden anmelden",
	"fault.away.2":      "Nichts ist verloren. Warten Sie einige Sekunden und laden Sie diese Seite noch einmal.",
	"fault.server":      "Bei uns ist etwas kaputtgegangen",
	"fault.server.2":    "Es liegt nicht an Ihnen und wurde vermerkt. Versuchen Sie es noch einmal; wenn es wieder geschieht, sagen Sie es den Betreibern von {tenant} und geben Sie ihnen die Anfragenummer.",
	"fault.request":     "Was hier ankam, ist nicht brauchbar",
	"fault.request.2":   "Gehen Sie zurück und senden Sie es noch einmal. Wenn es wieder geschieht, sagen Sie es den Betreibern von {tenant} und geben Sie ihnen die Anfragenummer.",
	"fault.id":          "Anfragenummer: {id}",
	"fault.back":        "Zurück zu {app}",
	"fault.sign_in":     "Zur Anmeldung",

	"mail.invite.subject": "Ihre Einladung zu {tenant}",
	"mail.invite.hello":   "Guten Tag {name},",
	"mail.invite.hi":      "Guten Tag,",
	"mail.invite.text":    "Sie sind zu {tenant} eingeladen. Wählen Sie zum Abschluss Ihr Passwort:",
	"mail.invite.button":  "Einladung annehmen",
	"mail.invite.until":   "Der Link gilt einmal, bis {date}.",
	"mail.invite.not_me":  "Wenn Sie {tenant} nicht kennen, tun Sie nichts: ohne den Link kommt niemand hinein.",
	"mail.invite.link":    "Wenn die Schaltfläche nicht funktioniert, kopieren Sie diese Adresse in Ihren Browser:",
	"mail.ask.subject":    "{app} bittet um Ihre Erlaubnis",
	"mail.ask.text":       "{app} bittet um Zugriff auf Ihr Konto bei {tenant} und wartet auf Ihre Antwort:",
	"mail.ask.message":    "Dort sehen Sie dies: {message}",
	"mail.ask.button":     "Ansehen, worum es geht",
	"mail.ask.until":      "Die Anfrage wartet bis {date}.",
	"mail.ask.not_me":     "Wenn Sie das nicht selbst begonnen haben, tun Sie nichts: ohne Ihre Antwort bekommt niemand Zugriff.",
	"mail.date":           "02.01.2006, 15:04 MST",
	"mail.dev":            "Entwicklungsmandant: diese Mail ist ein Test.",
}

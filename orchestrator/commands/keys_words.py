"""What each step of the ceremony does and what comes next, in the words that it prints."""

from __future__ import annotations

EXPLANATIONS = {
    "new": """\
What this does: it makes a private key in a file that only you can read, and its public half beside it. The private file
stays on this machine, or goes to a safe; the .pub file may go to anybody.
What comes next: a root holder sends the .pub file to whoever drafts the root (keys root-init). Everybody else proves
that they hold the key (keys prove) and sends the proof.""",
    "encrypt": """\
What this does: the key's file holds the same key as before, and only the passphrase opens it. A copy that was made
before, or what the disk keeps of the old file, is as open as it was: rotate a key that may have been copied.
What comes next: whatever signs with the key is given --passphrase-file. A backup needs the passphrase too.""",
    "prove": """\
What this does: your key signs a sentence that names itself, the role that you ask for, and the domain. It is good for
that role in that domain and for nothing else.
What comes next: send the proof to the domain's operator, who enrols the key (keys enrol). The private key stays.""",
    "root-init": """\
What this does: it drafts the document that says who may decide for this domain, and how many of them must agree. It
counts for nothing until they have signed it. A next root also needs the holders of the one before: they hand over. The
keyring is drafted again with it, because the new holders must vouch for it.
What comes next: the files go from holder to holder, and each signs them (keys root-sign).""",
    "root-sign": """\
What this does: your signature says that you read what is printed above and want it so. It is added to the files; the
signatures that were there stay.
What comes next: while more holders must sign, pass the files on. When the threshold is reached, they go to the machine
that holds the log (keys install).""",
    "enrol": """\
What this does: it adds a key to the list of those that are believed, for one role and for a time, after its holder
proved to hold it. Whoever verifies a bundle made from now on sees it; older bundles keep the keyring that they carry.
What comes next: if drafts were written, the holders sign them (keys root-sign) and the operator installs them (keys
install). A witness counts once the policy's quorum asks for it: enrol it with --policy.""",
    "renew": """\
What this does: the key lasts until the day shown; nothing else about it changes. The log's own key is renewed so every
year, for a log ends with its key.
What comes next: if drafts were written, the holders sign them (keys root-sign) and the operator installs them (keys
install). What is published keeps the window that it carries.""",
    "rotate": """\
What this does: the runner gets a new key with the same devices, and the old one an end: it signs nothing after the log
index shown. What it signed until then stays true. The change is put into the log as a key event.
What comes next: if drafts were written, let the runner rest, have them signed (keys root-sign) and install them (keys
install). Then the runner speaks with the new key by itself, and the old key's file may be destroyed.""",
    "revoke": """\
What this does: it says that whatever this key signs after the log index shown was not said by its owner. The end is a
place in the log, because a thief can write any time into a signature but cannot go back in the log.
What comes next: if drafts were written, the holders sign them (keys root-sign) and the operator installs them (keys
install). A runner then needs another key (keys rotate); results that lie after the index are void. A witness is no
longer needed once the policy's quorum is changed.""",
    "install": """\
What this does: it checks every signature and every rule once more, puts the files in force in one step, and puts the
key event into the log. Bundles from now on carry the new root and keyring; published ones stay as they are.
What comes next: keep the trust folder with your backups, publish a new root's fingerprint beside the old one, and look
at the result (keys show).""",
}

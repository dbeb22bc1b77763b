"""The real slapd with a small company in it: people, groups in groups, names with odd characters."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.peers import PATH, free_port, need, running

BASE = "dc=corp,dc=test"
PEOPLE, GROUPS = f"ou=people,{BASE}", f"ou=groups,{BASE}"
READER, READER_PASSWORD = f"cn=reader,{BASE}", "reads everything"
ROOT, ROOT_PASSWORD = f"cn=root,{BASE}", "root of the tree"

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {data}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
sizelimit 500
database mdb
suffix "{base}"
rootdn "{root}"
rootpw "{root_password}"
directory {data}/db
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by self read by * none
"""

TREE = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: corp
o: Corp

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {READER_PASSWORD}

dn: uid=ann,{PEOPLE}
objectClass: inetOrgPerson
uid: ann
cn: Ann Example
sn: Example
mail: ann@corp.test
userPassword: ann's password

dn: uid=bob,{PEOPLE}
objectClass: inetOrgPerson
uid: bob
cn: Bob Example
sn: Example
userPassword: bob's password

dn: cn=Müller\\, Jörg (EU) \\22\\#1\\22\\+x\\\\y \\3C*\\3E,{PEOPLE}
objectClass: inetOrgPerson
uid: joerg
cn: Müller, Jörg (EU) "#1"+x\\y <*>
sn: Müller
mail: joerg@corp.test
userPassword: jörg's pässword

dn: cn=Star,{PEOPLE}
objectClass: inetOrgPerson
uid: st*r(x)\\z
cn: Star
sn: Star
userPassword: star's password

dn: uid=twin,{PEOPLE}
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: One
userPassword: twin's password

dn: ou=more,{PEOPLE}
objectClass: organizationalUnit
ou: more

dn: uid=twin,ou=more,{PEOPLE}
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: Two
userPassword: twin's password

dn: cn=dev,{GROUPS}
objectClass: groupOfNames
cn: dev
member: uid=ann,{PEOPLE}
member: cn=Müller\\, Jörg (EU) \\22\\#1\\22\\+x\\\\y \\3C*\\3E,{PEOPLE}

dn: cn=all-dev,{GROUPS}
objectClass: groupOfNames
cn: all-dev
member: cn=dev,{GROUPS}

dn: cn=company,{GROUPS}
objectClass: groupOfNames
cn: company
member: cn=all-dev,{GROUPS}
member: cn=loop,{GROUPS}

dn: cn=loop,{GROUPS}
objectClass: groupOfNames
cn: loop
member: cn=company,{GROUPS}

dn: cn=Ops\\, EU,{GROUPS}
objectClass: groupOfNames
cn: Ops, EU
member: uid=bob,{PEOPLE}

dn: cn=qa,{GROUPS}
objectClass: groupOfUniqueNames
cn: qa
uniqueMember: uid=bob,{PEOPLE}

dn: cn=staff,{GROUPS}
objectClass: posixGroup
cn: staff
gidNumber: 1000
memberUid: bob
memberUid: dev
"""


@dataclass(frozen=True)
class Slapd:
    """A running directory: `url` in the clear (and for StartTLS), `secure` with TLS."""

    port: int
    secure_port: int
    ca: Path

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def secure(self) -> str:
        return f"ldaps://127.0.0.1:{self.secure_port}"

    def modify(self, ldif: str) -> None:
        """Change entries, as their administrator would."""
        _admin("ldapmodify", self.url, ldif)


def _admin(program: str, url: str, ldif: str) -> None:
    done = subprocess.run(
        [need(program), "-x", "-H", url, "-D", ROOT, "-w", ROOT_PASSWORD],
        input=ldif.encode(),
        capture_output=True,
        env={**os.environ, "PATH": PATH},
    )
    assert done.returncode == 0, done.stderr.decode()


@contextmanager
def slapd_running(*, port: int = 0) -> Iterator[Slapd]:
    """A directory of its own."""
    program = need("slapd")
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slapd-")))
        authority = Authority(root / "tls")
        certificate, key = authority.issue("127.0.0.1")  # and for no other name
        found = Slapd(port or free_port(), free_port(), authority.ca)
        (root / "db").mkdir()
        config = CONFIG.format(
            data=root,
            ca=authority.ca,
            certificate=certificate,
            key=key,
            base=BASE,
            root=ROOT,
            root_password=ROOT_PASSWORD,
            reader=READER,
        )
        (root / "slapd.conf").write_text(config)
        args = [program, "-f", str(root / "slapd.conf"), "-d", "0"]
        args += ["-h", f"{found.url} {found.secure}"]
        stack.enter_context(running(args, found.port, root / "log"))
        _admin("ldapadd", found.url, TREE)  # not slapadd: the memberof overlay has to see it
        yield found


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    """One directory for the whole run; who changes it starts one of their own."""
    with slapd_running() as found:
        yield found

"""`kinestream.redisurl`: bad URLs are one line, and no password is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kinestream.errors import UsageError
from kinestream.redis import connect
from kinestream.redisurl import safe_url

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        f"user:{SECRET}@localhost",
        f"redis:{SECRET}@localhost",
        f"redis://:{SECRET}@localhost:redis",
        f"redis://:{SECRET}/x@localhost",
        f"redis://:{SECRET}#x@localhost",
        f"redis://:12?{SECRET}@localhost",
        f"redis://:{SECRET}",
        f"redis://localhost?password=a&{SECRET}=x",
        f"redis://localhost?password=x@{SECRET}",
        f"redis://:{SECRET}@localhost:0",
        f"redis://:{SECRET}@localhost:66666",
        f"redis://:{SECRET}@localhost/frames",
        f"redis://:{SECRET}@localhost?db=x",
        f"redis://:{SECRET}@localhost?protocol=3",
        f"redis://:{SECRET}@localhost?decode_responses=True",
        f"unix://?password={SECRET}",
        f"unix://run/redis.sock?password={SECRET}",
        f"unix://:{SECRET}@run/redis.sock",
        f"unix:///{'x' * 108}?password={SECRET}",
    ],
)
def test_a_bad_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(url)
    assert str(caught.value).startswith("cannot use the Redis URL ")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert (
        caught.value.__cause__ is None and caught.value.__suppress_context__
    ) or not caught.value.__context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/2", "redis://localhost:6379/2"),
        ("rediss://[::1]:6379", "rediss://[::1]:6379"),
        ("redis://me:s3cr3t@h:1/0?db=2&password=s3cr3t", "redis://***@h:1/0?db=2&password=***"),
        ("unix:///run/a@b.sock?db=1", "unix:///run/a@b.sock?db=1"),
        ("unix://me:s3cr3t@/run/x.sock", "unix://***@/run/x.sock"),
        ("unix:///a\nb", "unix:///a?b"),
    ],
)
def test_a_safe_url_still_says_where(url: str, shown: str) -> None:
    assert safe_url(url) == shown
    if "\n" not in url:
        connect(url)


@pytest.mark.parametrize(
    "form",
    [
        "redis://me:{}@host:6379/0",
        "rediss://:{}@host",
        "redis://host:6379?password={}",
        "redis://host?db=1&password={}&client_name=x",
        "unix:///run/x.sock?password={}",
        "unix://me:{}@/run/x.sock",
        "me:{}@host",
    ],
)
@given(inside=st.text(st.sampled_from("ab1/?#@:&;=%[]. \n\0é") | st.characters(), max_size=12))
@example("://")
@example("x@host?db=1")
@example("@/")
def test_no_part_of_any_password_is_shown(form: str, inside: str) -> None:
    url = form.format(f"Q7{inside}Q7")
    told = [safe_url(url)]
    try:
        told.append(repr(connect(url)))
    except UsageError as error:
        told.append(str(error))
    assert not [text for text in told if "Q7" in text]

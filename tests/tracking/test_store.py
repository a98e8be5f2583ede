"""Addresses of stores."""

from pathlib import Path

from tracking.store import redacted, split_credentials, tracking_uri


def test_password_leaves_the_address_and_every_message() -> None:
    assert split_credentials("http://a%40b:p%3Aw@host:5000/x") == ("http://host:5000/x", "a@b", "p:w")
    assert split_credentials("sqlite:////tmp/a@b.db") == ("sqlite:////tmp/a@b.db", None, None)
    text = redacted("cannot reach\npostgresql://me:p%40w@host/db, p@w", "postgresql://me:p%40w@host/db")
    assert "p@w" not in text
    assert "p%40w" not in text
    assert "\n" not in text


def test_default_store_is_absolute(root: Path) -> None:
    assert tracking_uri(Path()) == f"sqlite:///{root}/.d2it/mlflow.db"

#!/usr/bin/env python3
"""A small site: members, who is a friend of whom, and a chat. Its settings, and its commands."""

import os
import pathlib
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

HERE = pathlib.Path(__file__).resolve().parent

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    BASE_DIR=HERE,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "site.sqlite3"}},
    # Who is online is kept there: by all workers together.
    CACHES={"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": HERE / "cache"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "friends"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF="friends.views",
    SECRET_KEY=os.environ["CHAT_SECRET"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    USE_TZ=True,
)
execute_from_command_line(sys.argv)

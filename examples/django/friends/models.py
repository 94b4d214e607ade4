"""Who is a friend of whom. Members are Django's own users, with their names as first names."""

from django.contrib.auth.models import User
from django.db import models


class Friendship(models.Model):
    member = models.ForeignKey(User, models.CASCADE, related_name="friendships")
    friend = models.ForeignKey(User, models.CASCADE, related_name="+")

    class Meta:
        unique_together = ["member", "friend"]


def friends_of(username):
    """Their names by username; None if there is no such member."""
    member = User.objects.filter(username=username, is_active=True).first()
    friends = Friendship.objects.filter(member=member).order_by("friend__first_name")
    return member and dict(friends.values_list("friend__username", "friend__first_name"))

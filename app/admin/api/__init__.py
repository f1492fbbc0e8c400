"""The routes of this feature, one file an action or noun."""

from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = ()

@echo off
rem Ends the stand-in's processes.
taskkill /f /im dynamsoftdls.exe

@echo off
rem Starts the stand-in (not the vendor's server). You can edit the last line to change the listening ports.
cd /d "%~dp0"
start "" /b ".\win\bin\dynamsoftdlsx.exe" ".\win\jre\bin\dynamsoftdls.exe" --add-opens java.base/jdk.internal.loader=ALL-UNNAMED -jar ".\dls-@VERSION@.jar" --server.port=48080
